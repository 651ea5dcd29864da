-- A version nobody can go back to any more keeps its static files for a while: pages that are still open load them. When they went too.
alter table builds add column files_pruned_at timestamptz;
update builds set files_pruned_at = pruned_at;
