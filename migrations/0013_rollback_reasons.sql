-- The commits a push brings to what was live when it came out: [{sha, subject}], the newest first and not more than twenty.
alter table deployments add column commits jsonb;

-- What was known of why it was taken back, kept when the edges had followed; logs and reports do not last.
alter table rollouts add column reasons jsonb;
