-- How far apps and builds are walled off, as each worker and each edge proved it by trying to get out.
create table isolation (
  part text not null check (part in ('worker', 'proxy')),
  instance text not null,
  mode text not null check (mode in ('none', 'users', 'strong', 'full')),
  summary text not null,
  advice text[] not null,
  at timestamptz not null default now(),
  primary key (part, instance)
);
