-- What a commit holds, whoever made it and when; null: it came without git. And the digest of that and all else a build is made from but for the
-- version: of builds only where they could not have told the version, for then another commit with the same files is the same build.
alter table deployments add column source_tree text;
alter table deployments add column tree_sha256 text;
alter table builds add column tree_sha256 text;
create index builds_by_tree on builds (app_id, tree_sha256) where pruned_at is null;
create index deployments_by_tree on deployments (app_id, source_tree) where source_key is not null;
