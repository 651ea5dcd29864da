-- Names of the app's own migrations that a deployment has applied to its database.
alter table deployments add column migrations jsonb not null default '[]';
