-- How a build wants to be rolled out: its deployments.canary with everything filled in, '"skip"', or null for the defaults.
alter table builds add column rollout_policy jsonb;

-- When it first took traffic, be it 5 %: the pusher is let go then.
alter table deployments add column traffic_at timestamptz;
update deployments set traffic_at = live_at;

insert into deployment_moves (from_state, to_state) values ('canary', 'rolled_back'), ('live', 'failed');

-- The staged move of a route from one deployment to another. `segment` is the ordinal of the segment in force, -1 before the first; whoever
-- changes a row has read its revision.
create table rollouts (
  id text primary key,
  route_id text not null references routes on delete cascade,
  app_id text not null references apps on delete cascade,
  from_deployment text not null references deployments on delete cascade,
  to_deployment text not null references deployments on delete cascade,
  state text not null default 'observing' check (state in ('observing', 'held', 'paused', 'reverting', 'done', 'aborted')),
  policy jsonb not null,
  -- What was known of the old deployment when the rollout began.
  before jsonb,
  segment integer not null default -1,
  revision bigint not null default 0,
  -- Of the leader that wrote last.
  epoch bigint not null default 0,
  active_sec double precision not null default 0,
  ticked_at timestamptz,
  uncovered_since timestamptz,
  guard_watch_since timestamptz,
  guard_held_since timestamptz,
  verdict jsonb,
  sentence text,
  confidence text check (confidence in ('full', 'low', 'unverified', 'by hand')),
  refused_reports integer not null default 0,
  by text not null,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create unique index rollouts_one_open on rollouts (route_id) where ended_at is null;
create index rollouts_by_deployment on rollouts (to_deployment);

-- A stretch of a rollout at one weight. Edges count by it.
create table rollout_segments (
  rollout_id text not null references rollouts on delete cascade,
  ordinal integer not null,
  stage integer not null,
  opens text not null check (opens in ('stage', 'half', 'guard')),
  percent integer not null check (percent between 0 and 100),
  slow_ms double precision,
  too_slow_ms double precision,
  opened_at timestamptz not null default clock_timestamp(),
  by text not null,
  primary key (rollout_id, ordinal)
);

-- What an edge process has counted so far; a boot is one life of one. The greatest seq counts.
create table rollout_reports (
  rollout_id text not null,
  segment integer not null,
  arm text not null check (arm in ('candidate', 'baseline')),
  edge_id text not null,
  boot_id text not null,
  seq bigint not null,
  requests bigint not null,
  tosses bigint not null,
  error_requests bigint not null,
  error_units bigint not null,
  timed_requests bigint not null,
  slow_units bigint not null,
  too_slow_requests bigint not null,
  refused_requests bigint not null,
  latency jsonb not null,
  at timestamptz not null default clock_timestamp(),
  primary key (rollout_id, segment, arm, edge_id, boot_id),
  foreign key (rollout_id, segment) references rollout_segments on delete cascade
);

-- Visitors who were seen to fail, or to be slow: once each, in the earliest segment anybody saw it in.
create table rollout_bad_units (
  rollout_id text not null references rollouts on delete cascade,
  metric text not null check (metric in ('errors', 'latency')),
  unit bytea not null,
  segment integer not null,
  arm text not null check (arm in ('candidate', 'baseline')),
  primary key (rollout_id, metric, unit)
);

-- Every verdict that differs from the one before, and what people did, with its numbers.
create table rollout_decisions (
  id bigint generated always as identity primary key,
  rollout_id text not null references rollouts on delete cascade,
  at timestamptz not null default clock_timestamp(),
  kind text not null,
  by text not null,
  sentence text not null,
  verdict jsonb
);
create index rollout_decisions_by_rollout on rollout_decisions (rollout_id, id);

-- Requests of the platform's own through an edge, asked for when there is no traffic to judge by.
create table rollout_probes (
  rollout_id text not null references rollouts on delete cascade,
  turn integer not null,
  edge_id text not null,
  passed integer not null,
  failed integer not null,
  reason text,
  at timestamptz not null default clock_timestamp(),
  primary key (rollout_id, turn, edge_id)
);
-- The turn of probes that edges are to make now; null: none.
alter table rollouts add column probe_turn integer;

-- What a deployment answered in ten seconds at an edge process, kept for half an hour.
create table route_bins (
  route_id text not null references routes on delete cascade,
  deployment_id text not null,
  edge_id text not null,
  boot_id text not null,
  at timestamptz not null,
  requests bigint not null,
  errors bigint not null,
  slow bigint not null default 0,
  latency jsonb not null,
  primary key (route_id, at, deployment_id, edge_id, boot_id)
);
create index route_bins_by_age on route_bins (at);

create function notify_rollout() returns trigger language plpgsql as $$
begin
  perform pg_notify('rollouts', new.id);
  return null;
end $$;
create trigger rollouts_changed after insert or update on rollouts
  for each row execute function notify_rollout();

-- Who leads: whoever holds the advisory lock raises the epoch, and writes with it.
create table rollout_leader (
  is_only boolean primary key default true check (is_only),
  epoch bigint not null
);
insert into rollout_leader (epoch) values (0);
