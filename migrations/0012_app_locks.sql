-- What keeps new versions from production: a person's lock, or the hold on automatic doors after a version was taken back. Lifted ones stay, as history.
create table app_locks (
  id text primary key,
  app_id text not null references apps on delete cascade,
  kind text not null check (kind in ('lock', 'hold')),
  message text not null,
  by text not null,
  at timestamptz not null default clock_timestamp(),
  lifted_at timestamptz,
  lifted_by text
);
create unique index app_locks_one_in_force on app_locks (app_id, kind) where lifted_at is null;
