-- Sources that workers fetch from a git host: { url, ref, sha, token }. The token is sealed, and kept while it may be needed.
alter table deployments add column git_origin jsonb;

create function forget_fetch_token() returns trigger language plpgsql as $$
begin
  new.git_origin := new.git_origin - 'token';
  return new;
end
$$;

create trigger deployments_forget_token before update on deployments
  for each row when (new.git_origin ? 'token' and (new.source_key is not null or new.state in ('failed', 'cancelled', 'removed')))
  execute function forget_fetch_token();
