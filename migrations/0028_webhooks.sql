-- Whom the platform tells what happens. `app_id` null: of all apps. Address and secrets are sealed with the platform's key, for addresses are often
-- secrets themselves.
create table webhooks (
  id text primary key,
  app_id text references apps on delete cascade,
  name text not null,
  address bytea not null,
  shown_address text not null,
  format text not null check (format in ('json', 'slack')),
  -- Types, 'deployment.*', '*'.
  events text[] not null,
  environment text check (environment in ('production', 'preview')),
  secret bytea not null,
  -- Signs too, until then.
  former_secret bytea,
  former_until timestamptz,
  disabled_at timestamptz,
  disabled_reason text,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null
);
create index webhooks_by_app on webhooks (app_id);

-- What happened, when somebody wants to be told: written with the event itself, so neither is there without the other.
create table webhook_events (
  id text primary key,
  type text not null,
  app_id text,
  data jsonb not null,
  at timestamptz not null default clock_timestamp()
);
create index webhook_events_by_age on webhook_events (at);

create table webhook_deliveries (
  id bigint generated always as identity primary key,
  webhook_id text not null references webhooks on delete cascade,
  event_id text not null references webhook_events on delete cascade,
  state text not null default 'waiting' check (state in ('waiting', 'sending', 'delivered', 'failed')),
  -- Since it was last asked for. Fences what is written of one.
  attempt integer not null default 0,
  -- Waiting: when it is to be sent. Sending: when whoever sends it is taken for dead.
  due_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  unique (webhook_id, event_id)
);
create index webhook_deliveries_due on webhook_deliveries (due_at) where state in ('waiting', 'sending');
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, id desc);
create index webhook_deliveries_by_event on webhook_deliveries (event_id);

create table webhook_attempts (
  id bigint generated always as identity primary key,
  delivery_id bigint not null references webhook_deliveries on delete cascade,
  at timestamptz not null,
  duration_ms integer not null,
  status integer,
  -- Why there is no status, or it is not a good one. Nothing of what the receiver said.
  reason text
);
create index webhook_attempts_by_delivery on webhook_attempts (delivery_id, id);

create function wants_event(wanted webhooks, event_type text, app text, event_environment text) returns boolean language sql stable as $$
  select wanted.disabled_at is null
    and (wanted.app_id is null or wanted.app_id = app)
    and (wanted.environment is null or event_environment is null or wanted.environment = event_environment)
    and exists (
      select from unnest(wanted.events) pattern
      where pattern in ('*', event_type) or right(pattern, 2) = '.*' and starts_with(event_type, left(pattern, -1))
    )
$$;

create function tell_webhooks(event_type text, app text, event_environment text, details jsonb) returns void language plpgsql as $$
declare
  event text := 'evt_' || replace(gen_random_uuid()::text, '-', '');
begin
  insert into webhook_events (id, type, app_id, data)
  select event, event_type, app, details
  where exists (select from webhooks w where wants_event(w, event_type, app, event_environment));
  if not found then
    return;
  end if;
  insert into webhook_deliveries (webhook_id, event_id)
  select w.id, event from webhooks w where wants_event(w, event_type, app, event_environment);
  perform pg_notify('webhooks', event);
end $$;

create function tell_of_deployment(d deployments) returns jsonb language sql immutable as $$
  select jsonb_build_object(
    'id', d.id, 'app_id', d.app_id, 'number', d.number, 'version', d.version, 'environment', d.environment, 'branch', d.branch,
    'label', d.label, 'source', d.source, 'subject', d.subject, 'state', d.state, 'error_code', d.error_code, 'created_by', d.created_by
  )
$$;

create function tell_deployment_event() returns trigger language plpgsql as $$
declare
  d deployments;
begin
  select * into d from deployments where id = new.deployment_id;
  perform tell_webhooks('deployment.' || new.to_state, new.app_id, d.environment, jsonb_build_object(
    'deployment', tell_of_deployment(d) || jsonb_build_object('state', new.to_state), 'from', new.from_state,
    'by', new."by", 'reason', new.reason, 'duration_ms', new.duration_ms
  ));
  return null;
end $$;
create trigger deployment_events_told after insert on deployment_events
  for each row execute function tell_deployment_event();

create function tell_rollout_decision() returns trigger language plpgsql as $$
declare
  o rollouts;
  d deployments;
  share integer;
begin
  select * into o from rollouts where id = new.rollout_id;
  select * into d from deployments where id = o.to_deployment;
  select weight into share from routes where id = o.route_id;
  perform tell_webhooks('rollout.' || new.kind, o.app_id, d.environment, jsonb_build_object(
    'rollout', jsonb_build_object('id', o.id, 'state', o.state, 'percent', share), 'deployment', tell_of_deployment(d),
    'by', new."by", 'reason', new.sentence
  ));
  return null;
end $$;
-- At the end of the transaction, when the stage it opens is open.
create constraint trigger rollout_decisions_told after insert on rollout_decisions
  deferrable initially deferred
  for each row execute function tell_rollout_decision();

create function tell_preview() returns trigger language plpgsql as $$
declare
  route routes := coalesce(new, old);
begin
  perform tell_webhooks(
    case tg_op when 'INSERT' then 'preview.created' else 'preview.removed' end, route.app_id, route.environment,
    jsonb_build_object('preview', jsonb_build_object('app_id', route.app_id, 'branch', route.branch, 'label', route.label))
  );
  return null;
end $$;
create trigger routes_preview_created after insert on routes
  for each row when (new.environment = 'preview') execute function tell_preview();
create trigger routes_preview_removed after delete on routes
  for each row when (old.environment = 'preview') execute function tell_preview();
