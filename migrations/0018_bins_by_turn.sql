-- When a bin began is reckoned by this database's clock as it arrives; its process says which of its bins it is, so that one told again is known.
alter table route_bins add column turn bigint;
update route_bins set turn = extract(epoch from at)::bigint;
alter table route_bins alter column turn set not null;
alter table route_bins drop constraint route_bins_pkey;
alter table route_bins add primary key (route_id, deployment_id, edge_id, boot_id, turn);
