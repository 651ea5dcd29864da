-- What all parts of one platform must have in common, wherever they run: the key, the bundle store, the git repositories.
create table agreements (
  name text primary key,
  mark text not null,
  at timestamptz not null default now()
);
