-- Whether a database lies on the server that `atelier up` brings for apps alone. Those that were made before there was one are on the platform's, and stay.
alter table app_databases add column embedded boolean not null default false;
