-- People, what they may do to which app, and an account of what was done.

-- A person's name is what they sign in with, and what others see. No password: they come in by a link, or by their tokens.
create table people (
  id text primary key,
  name text not null constraint people_name_taken unique check (name ~ '^[a-z0-9][a-z0-9._@+-]{0,62}$'),
  -- admin: everything. member: may create apps, and owns those. guest: only what others let them.
  platform_role text not null check (platform_role in ('admin', 'member', 'guest')),
  password text,
  created_at timestamptz not null default now(),
  created_by text not null
);

create table members (
  app_id text not null references apps on delete cascade,
  person_id text not null references people on delete cascade,
  role text not null check (role in ('owner', 'deployer', 'viewer')),
  since timestamptz not null default now(),
  added_by text not null,
  primary key (person_id, app_id)
);
create index members_by_app on members (app_id);

-- A token that belongs to somebody never reaches further than they do, and goes with them. Without: it stands alone.
alter table tokens add column person_id text references people on delete cascade;
create index tokens_by_person on tokens (person_id);

-- One-time links with which a person chooses a password: the first, or a new one.
create table person_links (
  code_sha256 bytea primary key,
  person_id text not null references people on delete cascade,
  expires_at timestamptz not null
);
create index person_links_by_person on person_links (person_id);

-- A browser is signed in with the rights of a token, or as a person.
alter table console_codes
  alter column token_id drop not null,
  add column person_id text references people on delete cascade,
  add constraint console_codes_of_one check (num_nonnulls(token_id, person_id) = 1);
alter table console_sessions
  alter column token_id drop not null,
  alter column token_secret_sha256 drop not null,
  add column person_id text references people on delete cascade,
  add constraint console_sessions_of_one check (num_nonnulls(token_id, person_id) = 1),
  add constraint console_sessions_of_secret check ((token_id is null) = (token_secret_sha256 is null));
create index console_sessions_by_person on console_sessions (person_id);

-- Passwords that were tried, of a name or from an address; kept for as long as they count.
create table sign_in_attempts (
  id bigint generated always as identity primary key,
  subject text not null,
  at timestamptz not null default clock_timestamp()
);
create index sign_in_attempts_by_subject on sign_in_attempts (subject, at);

-- What people and tokens did. Written before it is done; what came of it is an entry of its own, and none at all when the process died
-- over it. Names stand here as they were: apps, people and tokens go, what they did stays.
create table audit_entries (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  action text not null,
  app_id text,
  target text,
  detail jsonb not null default '{}',
  actor text not null,
  person_id text,
  token_id text,
  via text not null check (via in ('api', 'cli', 'console', 'git', 'webhook', 'server')),
  address text
);
create index audit_entries_by_app on audit_entries (app_id, id);
create index audit_entries_by_actor on audit_entries (actor, id);

create table audit_outcomes (
  entry_id bigint primary key references audit_entries,
  at timestamptz not null default clock_timestamp(),
  outcome text not null
);

create function refuse_to_change_the_past() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger audit_entries_append_only before update or delete or truncate on audit_entries
  for each statement execute function refuse_to_change_the_past();
create trigger audit_outcomes_append_only before update or delete or truncate on audit_outcomes
  for each statement execute function refuse_to_change_the_past();
