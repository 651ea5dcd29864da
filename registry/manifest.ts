import { z } from 'zod'
import { headerRule, mostHeaderRules, mostRedirects, redirectRule } from './site-rules.ts'

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const size = z.number().int().nonnegative()

/** A path inside a bundle: relative, `/`-separated, no empty, `.` or `..` component, no control characters. */
export const bundlePath = z
  .string()
  .min(1)
  .max(1024)
  .refine(
    (path) =>
      !/[\u0000-\u001f\u007f\\]/.test(path) &&
      path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'),
    {
      message: 'must be a plain relative path',
    },
  )

/** Characters of a start command; one argument of a program may have 128 kB. */
export const longestCommand = 8192

export const manifestFile = z.object({
  path: bundlePath,
  size,
  sha256,
  content_type: z.string().max(200),
  /** Compressed siblings, blobs of their own. */
  encodings: z.array(z.object({ encoding: z.enum(['br', 'zstd', 'gzip']), sha256, size })),
})

/** manifest.json of a build, written last and never rewritten: until it exists, the build does not. */
export const manifest = z.object({
  app_id: z.string(),
  version: z.string(),
  build: z.string(),
  framework: z.string(),
  kind: z.enum(['static', 'fetch', 'server', 'process']),
  built_at: z.iso.datetime(),
  built_by: z.string(),
  bundle_size: size,
  routes: z.object({ pages: z.array(z.string()), api: z.array(z.string()), static: z.array(z.string()) }),
  /** Of routes.json; null: made by an earlier release, in another form. */
  routes_sha256: sha256.nullable().default(null),
  transforms_applied: z.array(z.string()),
  build_duration_ms: size,
  git_sha: z.string().nullable(),
  git_branch: z.string().nullable(),
  env_names: z.array(z.string()),
  public_env_hash: z.string(),
  node_version: z.string(),
  lockfile_sha256: sha256.nullable(),
  /** Of package.json, with their ranges. */
  dependencies: z.record(z.string(), z.string()).default({}),
  files: z.array(manifestFile).max(100_000),
  /**
   * `entry` is a path inside server.tar.zst, of what a thread runs. `start` is what a process runs: a command, and the folder in the archive that
   * it starts in (`''`: the top). `modules` is the zstd frame in it that holds the dependencies: the same bytes in every build with
   * the same lockfile, so that an edge needs to unpack them once.
   */
  server: z
    .object({
      entry: bundlePath.nullable(),
      start: z
        .object({ command: z.string().min(1).max(longestCommand), folder: z.union([z.literal(''), bundlePath]) })
        .nullable()
        .default(null),
      sha256,
      size,
      modules: z.object({ offset: size, size, sha256 }).nullable().default(null),
    })
    .nullable(),
  /** Unknown navigations answer index.html. */
  spa_fallback: z.boolean(),
  /** What the site's _headers and _redirects say. */
  header_rules: z.array(headerRule).max(mostHeaderRules).default([]),
  redirects: z.array(redirectRule).max(mostRedirects).default([]),
  health: z.object({
    path: z.string().startsWith('/'),
    timeout_sec: z.number().positive(),
    /** 2xx or 3xx, not just below 500 */ strict: z.boolean(),
  }),
  drain_timeout_sec: z.number().nonnegative(),
  /** Of a fetch app, under load; null: one for each core. */
  max_isolates: z.number().int().min(1).max(4).nullable().default(null),
  /** It has a folder that stays, at /data. */
  data: z.boolean().default(false),
  /** Idle minutes after which its host is put to sleep; false: never; null: as its kind and environment have it. */
  sleep_after_min: z
    .union([z.literal(false), z.number().positive()])
    .nullable()
    .default(null),
})

export type Manifest = z.infer<typeof manifest>
export type ManifestFile = z.infer<typeof manifestFile>
