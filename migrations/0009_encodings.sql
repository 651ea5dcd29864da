-- The smallest compressed forms of files, made when there is time, by the plain file's digest: every later build with the file takes them at
-- once, whoever's it is. A form that is not worth its place has the plain file's own digest.
create table encodings (
  sha256 text not null,
  encoding text not null check (encoding in ('br', 'zstd', 'gzip')),
  encoded_sha256 text not null,
  size bigint not null,
  made_at timestamptz not null default now(),
  primary key (sha256, encoding)
);
create index encodings_by_encoded on encodings (encoded_sha256);

-- Where that stands for a build. A manifest is never rewritten: smaller forms made after it are in encodings-<digest>.json beside it.
alter table builds add column encoding_since timestamptz;
alter table builds add column encoding_attempts integer not null default 0;
alter table builds add column encoded_at timestamptz;
alter table builds add column encodings_sha256 text;
create index builds_to_encode on builds (created_at desc) where encoded_at is null and pruned_at is null;

create function notify_encodings() returns trigger language plpgsql as $$
begin
  perform pg_notify('encodings', new.id);
  return null;
end $$;
create trigger builds_encoded after update of encodings_sha256 on builds
  for each row when (new.encodings_sha256 is not null) execute function notify_encodings();
