-- Host names that apps are meant to have. So far they are records: nothing is served by them.
create table domains (
  -- As in DNS: lower case, IDN as xn--….
  host text primary key check (host ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
  app_id text not null references apps on delete cascade,
  created_at timestamptz not null default now(),
  created_by text not null
);
create index domains_by_app on domains (app_id, host);

-- The next deployment of the app begins without what earlier builds have kept.
alter table apps add column clear_caches boolean not null default false;
