-- Whether an edge has seen a change of a route: the transaction that made it, and the snapshot in which the edge last read the table.
alter table routes add column changed_in xid8;

create function note_route_change() returns trigger language plpgsql as $$
begin
  new.changed_in := pg_current_xact_id();
  return new;
end $$;
create trigger routes_note_change before insert or update on routes
  for each row execute function note_route_change();

alter table edges add column routes_seen pg_snapshot;
