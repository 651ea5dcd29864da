import type { Manifest } from '../../registry/manifest.ts'

/** Of a build with nothing in it. */
export const emptyManifest: Manifest = {
  ...{ app_id: 'a', version: '1.0.0', build: 'b', framework: 'test', kind: 'static', built_at: '2026-01-01T00:00:00Z' },
  ...{
    built_by: 'test',
    bundle_size: 0,
    transforms_applied: [],
    build_duration_ms: 0,
    git_sha: null,
    git_branch: null,
  },
  ...{
    routes: { pages: [], api: [], static: [] },
    routes_sha256: null,
    env_names: [],
    public_env_hash: '',
    node_version: process.version,
  },
  ...{ lockfile_sha256: null, dependencies: {}, files: [], server: null, spa_fallback: false },
  ...{ header_rules: [], redirects: [], health: { path: '/', timeout_sec: 5, strict: false }, drain_timeout_sec: 30 },
  ...{ max_isolates: null, sleep_after_min: null, data: false },
}
