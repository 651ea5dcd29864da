-- A preview is the app's own or a fork's, from its first deployment to its end: what is kept by route (folder, database) is never of both.
alter table routes add column is_fork boolean not null default false;
update routes r
set is_fork = true
where environment = 'preview'
  and exists (select from deployments d where d.route_id = r.id)
  and not exists (
    select from deployments d
    where d.route_id = r.id
      and not coalesce((d.options ->> 'fork')::boolean, false)
  );
alter table routes add constraint routes_of_forks_are_previews check (not is_fork or environment = 'preview');

create function keep_route_standing() returns trigger language plpgsql as $$
begin
  raise exception 'the standing of route % does not change', old.id
    using errcode = 'check_violation', constraint = 'routes_keep_their_standing';
end $$;
create trigger routes_keep_standing before update of is_fork on routes
  for each row when (new.is_fork <> old.is_fork) execute function keep_route_standing();

create function check_deployment_standing() returns trigger language plpgsql as $$
begin
  if exists (
    select from routes
    where id = new.route_id
      and is_fork <> coalesce((new.options ->> 'fork')::boolean, false)
  ) then
    raise exception 'deployment % is not of the standing of its route', new.id
      using errcode = 'check_violation', constraint = 'deployments_stand_as_their_route';
  end if;
  return new;
end $$;
create trigger deployments_standing before insert or update of route_id, options on deployments
  for each row execute function check_deployment_standing();
