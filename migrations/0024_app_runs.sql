-- Commands that somebody runs once, behind the walls of an app. The row stays and says who ran what; the command as it was typed, which is
-- sealed, goes when it has ended.
create table app_runs (
  id text primary key,
  app_id text not null references apps on delete cascade,
  deployment_id text not null references deployments on delete cascade,
  by text not null,
  -- For people: without the values of the app's variables.
  shown text not null,
  command bytea,
  takes_input boolean not null,
  timeout_sec integer not null check (timeout_sec > 0),
  state text not null default 'waiting' check (state in ('waiting', 'running', 'ended')),
  edge_id text,
  -- When whoever asked for it was last there, and whoever runs it.
  asker_at timestamptz not null default clock_timestamp(),
  runner_at timestamptz,
  end_asked text check (end_asked in ('TERM', 'KILL')),
  exit_code integer,
  signal text,
  cause text,
  error_code text,
  reason text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  ended_at timestamptz
);
create index app_runs_open on app_runs (created_at) where state <> 'ended';
create index app_runs_by_app on app_runs (app_id, created_at desc);

-- What goes in and comes out, until it has been taken. It is worth nothing after a crash, and megabytes of it need not be written twice.
create unlogged table app_run_chunks (
  run_id text not null references app_runs on delete cascade,
  seq integer not null,
  stream text not null check (stream in ('stdin', 'stdout', 'stderr')),
  data bytea not null,
  is_last boolean not null default false
);
create unique index app_run_chunks_in on app_run_chunks (run_id, seq) where stream = 'stdin';
create unique index app_run_chunks_out on app_run_chunks (run_id, seq) where stream <> 'stdin';
