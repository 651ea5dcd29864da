-- The repository elsewhere that an app is deployed from: its host tells of pushes and pull requests, and is told what became of them.
create table repo_links (
  -- Names the hook, too: POST /hooks/<id>.
  id text primary key,
  app_id text not null unique references apps on delete cascade,
  host text not null check (host in ('github', 'gitea')),
  url text not null,
  api_url text not null,
  -- owner/name, as the host has it.
  full_name text not null,
  -- Sealed with the platform's key.
  secret bytea not null,
  token bytea,
  forks text not null default 'off' check (forks in ('off', 'approve')),
  created_at timestamptz not null default now(),
  created_by text not null,
  -- The host is asked which pull requests are open from time to time: a webhook may be missed.
  poll_after timestamptz not null default now(),
  poll_failures integer not null default 0,
  poll_error text,
  polled_at timestamptz
);

-- Deliveries that were taken, for a day: one that comes again does nothing.
create table hook_deliveries (
  link_id text not null references repo_links on delete cascade,
  delivery text not null,
  at timestamptz not null default now(),
  primary key (link_id, delivery)
);
create index hook_deliveries_by_age on hook_deliveries (at);

-- A head that is followed: of a pull request, which is a preview, or of the production branch.
create table repo_heads (
  link_id text not null references repo_links on delete cascade,
  app_id text not null references apps on delete cascade,
  -- The branch it is deployed as: pr/42, main.
  branch text not null,
  pull_request integer,
  is_open boolean not null,
  is_fork boolean not null default false,
  -- As the host said last; by whom a fork is trusted with exactly one commit.
  head_sha text not null,
  said_at timestamptz,
  approved_sha text,
  approved_by text,
  -- What was deployed of it last.
  deployed_sha text,
  deployment_id text references deployments on delete set null,
  -- Of this head there is to be no preview, and why: it was removed, or may not be.
  refused_sha text,
  note text,
  -- When it is to be looked at; null: there is nothing to do.
  due_at timestamptz,
  failures integer not null default 0,
  -- What its host was told last.
  comment_id text,
  told_state text,
  told_sha text,
  told_text text,
  tell_after timestamptz not null default now(),
  tell_failures integer not null default 0,
  tell_error text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (link_id, branch)
);
create index repo_heads_due on repo_heads (due_at) where due_at is not null;
create index repo_heads_by_deployment on repo_heads (deployment_id);

create function notify_repo_head() returns trigger language plpgsql as $$
begin
  perform pg_notify('repo_heads', new.app_id || ':' || new.branch);
  return null;
end $$;
create trigger repo_heads_changed after insert or update of head_sha, is_open, approved_sha, due_at, note on repo_heads
  for each row execute function notify_repo_head();

-- Of an app without a row the defaults hold (registry/preview-settings.ts).
create table preview_settings (
  app_id text primary key references apps on delete cascade,
  ttl_hours integer not null check (ttl_hours between 1 and 8760),
  most integer not null check (most between 1 and 1000),
  -- scrypt of the password visitors give; null: everybody may look.
  gate text
);
