-- The platform's own database. Postgres enforces the rules; code translates the violations.

create table apps (
  id text primary key check (id ~ '^[a-z]([a-z0-9-]{0,36}[a-z0-9])?$' and id !~ '-pr-[0-9]+$' and id !~ '-git-'),
  production_branch text,
  last_number integer not null default 0,
  created_at timestamptz not null default now(),
  created_by text not null
);

create table tokens (
  id text primary key,
  name text not null,
  secret_sha256 bytea not null unique,
  scope text not null check (scope in ('admin', 'deploy', 'read')),
  app_id text references apps on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  last_used_at timestamptz
);

-- One row per app and environment (preview: per branch): who gets the traffic.
create table routes (
  id text primary key,
  app_id text not null references apps on delete cascade,
  environment text not null check (environment in ('production', 'preview')),
  branch text not null,
  label text not null constraint routes_label_taken unique,
  live_deployment text,
  candidate_deployment text,
  weight integer not null default 0 check (weight between 0 and 100),
  generation bigint not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index routes_one_production on routes (app_id) where environment = 'production';
create unique index routes_one_per_branch on routes (app_id, branch) where environment = 'preview';

-- One run that made a bundle from a version. Immutable but for pruned_at.
create table builds (
  id text primary key,
  app_id text not null references apps on delete cascade,
  version text not null,
  input_sha256 text not null,
  kind text not null,
  framework text not null,
  manifest_key text not null,
  manifest_sha256 text not null,
  public_env_hash text not null,
  bundle_size bigint not null,
  duration_ms integer not null,
  created_at timestamptz not null default now(),
  pruned_at timestamptz
);
create index builds_by_input on builds (app_id, version, input_sha256) where pruned_at is null;

-- Written before asking the store what exists, so that collection never removes a blob a running upload counts on.
create table blob_refs (
  sha256 text not null,
  build_id text not null,
  app_id text not null,
  primary key (sha256, build_id)
);
create index blob_refs_by_build on blob_refs (build_id);

create table condemned_blobs (
  sha256 text primary key,
  since timestamptz not null default now()
);

-- One attempt to put a build before users.
create table deployments (
  id text primary key,
  app_id text not null references apps on delete cascade,
  route_id text references routes on delete set null,
  number integer not null,
  version text not null,
  environment text not null check (environment in ('production', 'preview')),
  branch text not null,
  label text not null,
  source text not null check (source in ('git', 'upload', 'redeploy')),
  ref text,
  git_sha text,
  old_sha text,
  subject text,
  source_key text,
  input_sha256 text not null,
  build_id text references builds,
  env_snapshot jsonb not null default '{}',
  options jsonb not null default '{}',
  state text not null default 'queued',
  state_reason text,
  state_by text not null,
  state_since timestamptz not null default clock_timestamp(),
  error_code text,
  attempt integer not null default 0,
  worker_id text,
  heartbeat_at timestamptz,
  prepare_requested_at timestamptz,
  prepared_at timestamptz,
  ref_moved_at timestamptz,
  live_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  unique (app_id, number)
);
create index deployments_by_app on deployments (app_id, number desc);
create index deployments_by_route on deployments (route_id, number desc);
create index deployments_open on deployments (state) where state in ('queued', 'building', 'built', 'uploading', 'canary');
create unique index deployments_one_running on deployments (route_id) where state in ('building', 'built', 'uploading');
create unique index deployments_one_live on deployments (route_id) where state = 'live';

alter table routes add constraint routes_live_deployment foreign key (live_deployment) references deployments on delete set null;
alter table routes add constraint routes_candidate_deployment foreign key (candidate_deployment) references deployments on delete set null;

-- The state machine as data: a move that is not listed here cannot happen.
create table deployment_moves (
  from_state text not null,
  to_state text not null,
  primary key (from_state, to_state)
);
insert into deployment_moves (from_state, to_state) values
  ('queued', 'building'), ('queued', 'failed'), ('queued', 'cancelled'),
  ('building', 'built'), ('building', 'failed'), ('building', 'cancelled'), ('building', 'queued'),
  ('built', 'uploading'), ('built', 'failed'), ('built', 'cancelled'), ('built', 'queued'),
  ('uploading', 'canary'), ('uploading', 'live'), ('uploading', 'failed'), ('uploading', 'cancelled'), ('uploading', 'queued'),
  ('canary', 'live'), ('canary', 'failed'), ('canary', 'cancelled'),
  ('live', 'superseded'), ('live', 'rolled_back'), ('live', 'removed'),
  ('superseded', 'live'), ('superseded', 'removed'),
  ('rolled_back', 'live'), ('rolled_back', 'removed');

create table deployment_events (
  id bigint generated always as identity primary key,
  deployment_id text not null references deployments on delete cascade,
  app_id text not null,
  at timestamptz not null default clock_timestamp(),
  from_state text,
  to_state text not null,
  by text not null,
  reason text,
  duration_ms integer
);
create index deployment_events_by_deployment on deployment_events (deployment_id, id);

create function check_deployment_move() returns trigger language plpgsql as $$
begin
  if not exists (select from deployment_moves where from_state = old.state and to_state = new.state) then
    raise exception 'deployment % may not move from % to %', old.id, old.state, new.state
      using errcode = 'check_violation', constraint = 'deployment_moves';
  end if;
  new.state_since := clock_timestamp();
  return new;
end $$;
create trigger deployments_move before update of state on deployments
  for each row when (old.state is distinct from new.state) execute function check_deployment_move();

create function record_deployment_event() returns trigger language plpgsql as $$
begin
  insert into deployment_events (deployment_id, app_id, from_state, to_state, by, reason, duration_ms)
  values (
    new.id, new.app_id,
    case when tg_op = 'UPDATE' then old.state end, new.state, new.state_by, new.state_reason,
    case when tg_op = 'UPDATE' then (extract(epoch from clock_timestamp() - old.state_since) * 1000)::integer end
  );
  perform pg_notify('deployments', new.id || ':' || new.state);
  return null;
end $$;
create trigger deployments_inserted after insert on deployments
  for each row execute function record_deployment_event();
create trigger deployments_moved after update of state on deployments
  for each row when (old.state is distinct from new.state) execute function record_deployment_event();

create function notify_prepare() returns trigger language plpgsql as $$
begin
  perform pg_notify('prepare', new.id);
  return null;
end $$;
create trigger deployments_prepare after update of prepare_requested_at on deployments
  for each row when (new.prepare_requested_at is not null) execute function notify_prepare();

create function notify_prepared() returns trigger language plpgsql as $$
begin
  perform pg_notify('deployments', new.id || ':prepared');
  return null;
end $$;
create trigger deployments_prepared after update of prepared_at on deployments
  for each row when (new.prepared_at is not null) execute function notify_prepared();

create function notify_route() returns trigger language plpgsql as $$
declare
  route routes := coalesce(new, old);
begin
  perform pg_notify('routes', route.id || ':' || route.generation);
  return null;
end $$;
create trigger routes_changed after insert or update or delete on routes
  for each row execute function notify_route();

-- Edge processes with a lease (seen_at within five seconds), and what they said of deployments they were asked to prepare.
create table edges (
  id text primary key,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now()
);

create table edge_reports (
  edge_id text not null references edges on delete cascade,
  deployment_id text not null references deployments on delete cascade,
  ready boolean not null,
  reason text,
  at timestamptz not null default clock_timestamp(),
  primary key (edge_id, deployment_id)
);

create function notify_edge_report() returns trigger language plpgsql as $$
begin
  perform pg_notify('edge_reports', new.deployment_id);
  return null;
end $$;
create trigger edge_reports_changed after insert or update on edge_reports
  for each row execute function notify_edge_report();

-- Build logs: durable, in order, bounded by bytes.
create table build_logs (
  deployment_id text primary key references deployments on delete cascade,
  last_seq integer not null default 0,
  bytes bigint not null default 0,
  truncated boolean not null default false
);

create table build_log_lines (
  deployment_id text not null references deployments on delete cascade,
  seq integer not null,
  at timestamptz not null default clock_timestamp(),
  text text not null,
  primary key (deployment_id, seq)
);

-- What running apps write to stdout and stderr; the newest lines of each app are kept.
create table app_log_lines (
  id bigint generated always as identity primary key,
  app_id text not null references apps on delete cascade,
  deployment_id text not null,
  version text not null,
  at timestamptz not null default clock_timestamp(),
  stream text not null check (stream in ('stdout', 'stderr', 'platform')),
  text text not null
);
create index app_log_lines_by_app on app_log_lines (app_id, id);

-- Values are sealed with the platform's key, which is not in the database.
create table env_vars (
  app_id text not null references apps on delete cascade,
  environment text not null check (environment in ('production', 'preview')),
  name text not null,
  value bytea not null,
  runtime_only boolean not null default false,
  updated_at timestamptz not null default now(),
  updated_by text not null,
  primary key (app_id, environment, name)
);
