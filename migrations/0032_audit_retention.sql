-- Entries of the audit log go when the platform keeps them no longer, by forget_audit_entries and nothing else, and none goes that is
-- younger than 30 days. Everything else stays refused.
drop trigger audit_entries_append_only on audit_entries;
drop trigger audit_outcomes_append_only on audit_outcomes;
create trigger audit_entries_append_only before update or truncate on audit_entries
  for each statement execute function refuse_to_change_the_past();
create trigger audit_outcomes_append_only before update or truncate on audit_outcomes
  for each statement execute function refuse_to_change_the_past();

create function refuse_to_forget() returns trigger language plpgsql as $$
declare
  forgets_before timestamptz := nullif(current_setting('atelier.forgets_audit_before', true), '')::timestamptz;
  entry_at timestamptz := null;
begin
  if tg_table_name = 'audit_entries' then
    entry_at := old.at;
  else
    select e.at into entry_at from audit_entries e where e.id = old.entry_id;
  end if;
  if entry_at < forgets_before and entry_at < now() - interval '30 days' then
    return old;
  end if;
  raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger audit_entries_not_forgotten before delete on audit_entries
  for each row execute function refuse_to_forget();
create trigger audit_outcomes_not_forgotten before delete on audit_outcomes
  for each row execute function refuse_to_forget();

-- Forgets entries from before, the oldest first, `most` of them at once; returns how many. Entries lie in the order of their ids, so the
-- oldest are the first of these.
create function forget_audit_entries(before timestamptz, most integer) returns integer language plpgsql as $$
declare
  old_ids bigint[];
begin
  select array_agg(id) into old_ids
  from (select id, at from audit_entries order by id limit most) oldest
  where at < before;
  if old_ids is null then
    return 0;
  end if;
  perform set_config('atelier.forgets_audit_before', before::text, true);
  delete from audit_outcomes where entry_id = any(old_ids);
  delete from audit_entries where id = any(old_ids);
  perform set_config('atelier.forgets_audit_before', '', true);
  return cardinality(old_ids);
end $$;
