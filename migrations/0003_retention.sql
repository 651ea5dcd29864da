-- deployments.keepVersions of the app's config, as it was when the build was made; the newest build of an app decides.
alter table builds add column keep_versions integer not null default 10;

-- So that references of builds that came to nothing can be told from those of a build under way.
alter table blob_refs add column at timestamptz not null default now();
