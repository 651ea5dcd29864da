-- Browsers signed in to the console. A session has the rights of the token it came from, and ends with it.

create table console_codes (
  code_sha256 bytea primary key,
  token_id text not null references tokens on delete cascade,
  expires_at timestamptz not null
);

create table console_sessions (
  secret_sha256 bytea primary key,
  token_id text not null references tokens on delete cascade,
  -- A token whose secret was replaced takes the sessions of the old secret along.
  token_secret_sha256 bytea not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
