export type PostgresSettings = Record<string, string>

/** Small on purpose: a control plane on one machine. Given as arguments at every start, so the data directory holds no setting of ours. */
export const durableSettings: PostgresSettings = {
  listen_addresses: '',
  port: '5432',
  max_connections: '200',
  // For the platform's own role: apps may take the rest.
  reserved_connections: '60',
  // Of one session's sorts and joins that do not fit into memory.
  temp_file_limit: '2GB',
  shared_buffers: '48MB',
  work_mem: '4MB',
  maintenance_work_mem: '32MB',
  min_wal_size: '32MB',
  max_wal_size: '256MB',
  max_parallel_workers_per_gather: '0',
  autovacuum_worker_slots: '2',
  autovacuum_max_workers: '2',
  max_logical_replication_workers: '0',
  // In its own directory: what a killed Postgres leaves in /dev/shm stays there when its home is gone.
  dynamic_shared_memory_type: 'mmap',
  // Version 18 starts three reader processes otherwise.
  io_method: 'sync',
  jit: 'off',
  fsync: 'on',
  synchronous_commit: 'on',
  log_min_messages: 'warning',
  log_checkpoints: 'off',
  log_line_prefix: '%m [%p] ',
  log_timezone: 'UTC',
  timezone: 'UTC',
  cluster_name: 'atelier',
}

/** Of the server that holds the databases of apps: many strangers, of whom none may take what the others need. */
export const appsSettings: PostgresSettings = {
  ...durableSettings,
  max_connections: '400',
  // For who makes databases, and drops them.
  reserved_connections: '10',
  // Statements of apps that fail are the apps' to tell of, and would fill the disk.
  log_min_messages: 'fatal',
  log_min_error_statement: 'panic',
  cluster_name: 'atelier-apps',
}

/** A power cut may lose everything. */
export const losable: PostgresSettings = {
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'off',
  autovacuum: 'off',
}

export function settingArgs({ socketDir, ...settings }: PostgresSettings & { socketDir: string }): string[] {
  // A list of directories: quoted, for a comma in the name would split it.
  const all: PostgresSettings = { ...settings, unix_socket_directories: `"${socketDir.replaceAll('"', '""')}"` }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}
