-- What was to be forgotten of the answers that edges keep: by whom, when, and the transaction that said so.
create table purges (
  id text primary key,
  app_id text not null references apps on delete cascade,
  tags text[] not null,
  paths text[] not null,
  everything boolean not null,
  by text not null,
  at timestamptz not null default now(),
  made_in xid8 not null default pg_current_xact_id()
);
create index purges_by_transaction on purges (made_in);

create function notify_purge() returns trigger language plpgsql as $$
begin
  perform pg_notify('purges', new.id);
  return null;
end $$;
create trigger purges_made after insert on purges
  for each row execute function notify_purge();

-- The snapshot in which an edge last read this table; what is visible in it, the edge has forgotten.
alter table edges add column purges_seen pg_snapshot;
