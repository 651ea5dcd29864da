-- The databases that apps were given, one for each route that wants one. The name is the database's and its role's on the server, and says nothing of
-- the app: every role of a server can list the names. A row outlives its route, and its app, until the database is dropped.
create table app_databases (
  name text primary key check (name ~ '^app_[a-z0-9]{12}$'),
  app_id text not null,
  environment text not null check (environment in ('production', 'preview')),
  branch text not null,
  route_id text references routes on delete set null,
  -- Sealed with the platform's key.
  password bytea not null,
  created_at timestamptz not null default now(),
  made_at timestamptz
);
create unique index app_databases_one_per_route on app_databases (route_id);

alter table deployments add column database text references app_databases on delete set null;
