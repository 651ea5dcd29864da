-- Latencies are written as steps and counts, half as long as before; bins are of use for half an hour.
delete from route_bins;
update rollout_reports set candidate_latency = '', baseline_latency = '';
