-- One row for both arms, and latencies and paths as text that the database never looks into: fifty edges that tell of two hundred rollouts
-- every 2 s are 5000 rows a second. The counts are in the order that registry/rollout-reports.ts names; room is left in the pages for new
-- versions of the rows, so that no index is written to.
drop table rollout_reports;
create table rollout_reports (
  rollout_id text not null,
  segment integer not null,
  edge_id text not null,
  boot_id text not null,
  seq bigint not null,
  candidate bigint[] not null check (cardinality(candidate) = 8),
  baseline bigint[] not null check (cardinality(baseline) = 8),
  candidate_latency text not null,
  baseline_latency text not null,
  failing_paths text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (rollout_id, segment, edge_id, boot_id),
  foreign key (rollout_id, segment) references rollout_segments on delete cascade
) with (fillfactor = 50);

-- How many of a bin were slow depends on a limit that comes later.
alter table route_bins drop column slow;
alter table route_bins alter column latency type text;

-- Whoever leads gives the probes of a turn some seconds.
alter table rollouts add column probe_asked_at timestamptz;

-- The clock and the verdict are written every second; nobody is woken for these.
drop trigger rollouts_changed on rollouts;
create trigger rollouts_begun after insert on rollouts
  for each row execute function notify_rollout();
create trigger rollouts_changed after update on rollouts
  for each row when (old.revision <> new.revision or old.probe_turn is distinct from new.probe_turn)
  execute function notify_rollout();
