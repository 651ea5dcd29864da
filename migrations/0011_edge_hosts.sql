-- What edges say of the processes of deployments: written when it changes, by the edge whose lease it goes with.
create table edge_hosts (
  edge_id text not null references edges on delete cascade,
  deployment_id text not null references deployments on delete cascade,
  state text not null check (state in ('starting', 'awake', 'asleep', 'crashed')),
  isolates integer not null check (isolates >= 0),
  since timestamptz not null default now(),
  primary key (edge_id, deployment_id)
);
create index edge_hosts_by_deployment on edge_hosts (deployment_id);
