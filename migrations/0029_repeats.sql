-- What was answered to changes that came with an Idempotency-Key, for a day.
create table repeats (
  -- A token's id, or `person:` and a person's.
  caller text not null,
  key text not null,
  request_sha256 bytea not null,
  -- Of what was sent in chunks, once it was there.
  body_sha256 bytea,
  began_at timestamptz not null default now(),
  status integer,
  content_type text,
  -- Sealed: an answer may hold a secret that was to be shown once.
  answer bytea,
  -- Where the answer is a deployment's progress, which is told anew: its id, and how far it was followed.
  deployment_id text,
  until text,
  primary key (caller, key)
);
create index repeats_by_age on repeats (began_at);

-- Pages of deployments, newest first.
create index deployments_by_time on deployments (created_at desc, id desc);
create index deployments_of_app_by_time on deployments (app_id, created_at desc, id desc);
