-- Sources that no deployment needs, until they are removed a day later or somebody counts on them again: whoever does deletes the row first, and waits
-- when the source is being removed.
create table condemned_sources (
  key text primary key,
  since timestamptz not null default now()
);
create index deployments_by_source on deployments (source_key) where source_key is not null;
