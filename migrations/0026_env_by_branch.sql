-- A preview's branch may have variables of its own, which go before those all previews share (branch ''). What is readable may be shown.
alter table env_vars add column branch text not null default '';
alter table env_vars add column is_readable boolean not null default false;
alter table env_vars drop constraint env_vars_pkey;
alter table env_vars add primary key (app_id, environment, branch, name);
alter table env_vars add constraint env_vars_production_has_one_branch check (branch = '' or environment = 'preview');
