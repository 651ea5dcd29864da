-- What an app in a monorepo uses of its repository, and all else its build is made from but for the version, as one digest: only of builds that could
-- not have told the version. Another commit that changes nothing of it is the same build.
alter table builds add column parts_sha256 text;
create index builds_by_parts on builds (app_id, parts_sha256) where pruned_at is null;
