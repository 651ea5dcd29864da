-- What of an app runs when a build of it is deployed: {"hooks": ["preDeploy", …]}; null: nothing.
alter table builds add column deploy_commands jsonb;

-- Hooks that run after the fact, each once for the move that asks for it. The row is written with the move, so neither is there without the other.
create table hook_runs (
  id bigint generated always as identity primary key,
  app_id text not null references apps on delete cascade,
  deployment_id text not null references deployments on delete cascade,
  route_id text,
  hook text not null check (hook in ('postDeploy', 'onRollback')),
  -- What was live before (postDeploy); null: none, or it is read when the hook runs.
  previous_version text,
  state text not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed')),
  reason text,
  attempt integer not null default 0,
  worker_id text,
  heartbeat_at timestamptz,
  not_before timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create index hook_runs_open on hook_runs (id) where state in ('waiting', 'running');
create index hook_runs_by_deployment on hook_runs (deployment_id);

create function order_hook(deployment deployments, wanted text, previous text) returns void language plpgsql as $$
declare
  ordered bigint;
begin
  insert into hook_runs (app_id, deployment_id, route_id, hook, previous_version)
  select deployment.app_id, deployment.id, deployment.route_id, wanted, previous
  from builds b
  where b.id = deployment.build_id
    and b.deploy_commands -> 'hooks' ? wanted
  returning id into ordered;
  if ordered is not null then
    perform pg_notify('hook_runs', ordered::text);
  end if;
end $$;

-- Live without a rollout: the route still names the one before. Taken back: from a share of the traffic or all of it.
create function order_hook_of_move() returns trigger language plpgsql as $$
begin
  if old.state = 'uploading' and new.state = 'live' then
    perform order_hook(new, 'postDeploy', (
      select before.version
      from routes r
      join deployments before on before.id = r.live_deployment
      where r.id = new.route_id
    ));
  elsif old.state in ('canary', 'live') and new.state in ('failed', 'rolled_back') then
    perform order_hook(new, 'onRollback', null);
  end if;
  return null;
end $$;
create trigger deployments_order_hook after update of state on deployments
  for each row when (old.state is distinct from new.state) execute function order_hook_of_move();

create function order_hook_of_rollout() returns trigger language plpgsql as $$
declare
  shipped deployments;
begin
  select * into shipped from deployments where id = new.to_deployment and state in ('live', 'superseded');
  if found then
    perform order_hook(shipped, 'postDeploy', (select version from deployments where id = new.from_deployment));
  end if;
  return null;
end $$;
create trigger rollouts_order_hook after update of state on rollouts
  for each row when (old.state is distinct from new.state and new.state = 'done') execute function order_hook_of_rollout();
