import { availableParallelism, homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { parseS3Url } from './bundle-store/s3-address.ts'
import { type EgressRule, parseEgressAllow } from './egress-allow.ts'
import { AppError } from './errors.ts'
import type { ListenAddress } from './listen.ts'
import { problemText } from './problem-text.ts'

export type { EgressRule } from './egress-allow.ts'

/** How far apps and builds are kept from the machine and from each other, the weakest first; sandbox/isolation.ts says what each means. */
export const isolationModes = ['none', 'users', 'strong', 'full'] as const
export type IsolationMode = (typeof isolationModes)[number]

/**
 * Where `atelier up` keeps the databases of apps. `appsUrl`: on a server of their own. `elderUrl`: those that were made before there was one, on the
 * platform's; with a role that may make databases and roles, for parts that do.
 */
export type EmbeddedServers = { appsUrl: string; elderUrl: string | null }

export type Config = {
  /** Absolute path; everything the platform keeps on this machine is below it. */
  home: string
  /** Unix sockets live here; short, for a socket path holds 107 bytes at most. */
  runDir: string
  domain: string
  appsDomain: string
  httpPort: number
  /** Processes that take connections, all on that port. */
  edges: number
  /** Where gateway and registry listen besides their unix sockets in `runDir`, for proxies on other machines; null: nowhere. */
  gatewayListen: ListenAddress | null
  registryListen: ListenAddress | null
  /** Where the proxy finds them: `http://host:port`; null: at their unix sockets in `runDir`. */
  gatewayUrl: string | null
  registryUrl: string | null
  /** `postgres://…`, with `host=` a directory for a unix socket. Null: the embedded Postgres has not been started yet. */
  databaseUrl: string | null
  /** The same for the databases of apps, with a role that may make databases and roles; null: `embedded`, or `databaseUrl`. */
  appsDatabaseUrl: string | null
  /** Said by `atelier up` to its parts, where it brings the server; null: somebody else's. */
  embedded: EmbeddedServers | null
  /** `redis://…`, or null for BullMQ on the same Postgres. */
  queueUrl: string | null
  /** `file:<absolute path>` or `s3://<bucket>?…`. */
  storeUrl: string
  /** For `s3://`; null: those the AWS tools would take. */
  s3Keys: { accessKeyId: string; secretAccessKey: string } | null
  /** Base64 of 32 bytes, or null for the 0600 file `secrets/key` in the home. */
  key: string | null
  /** `require`: what is weaker than `strong` is not started. */
  isolation: 'require' | 'warn'
  /** How often rows and jobs are brought together again. */
  reconcileMs: number
  /** How long fetching a source from a git host may take. */
  fetchTimeoutMs: number
  /** Requests to the API in a minute, of one token and from one address; 0: as many as come. */
  apiLimits: { token: number; address: number }
  /** Folders of the server from which operators may deploy. */
  sourceRoots: string[]
  /** How often the host of a linked repository is asked what is open there. */
  repoPollMs: number
  /** How long an entry of the audit log is kept; null: for ever. */
  auditDays: number | null
  buildConcurrency: number
  buildLimits: { timeoutMs: number; memoryMb: number; processes: number; diskMb: number; outputBytes: number }
  /** What builds keep for the next ones: of each app, and of all apps on this machine. */
  buildCaches: { appMb: number; totalMb: number }
  /** `stuckAfterMs`: a thread that answers nothing for so long is replaced. */
  appLimits: { memoryMb: number; dataMb: number; databaseMb: number; processes: number; stuckAfterMs: number }
  /** Of each edge process; `cacheBytes` 0: nothing is cached. */
  responseCache: { cacheBytes: number; cacheEntryBytes: number }
  pushLimits: {
    packMb: number
    checkoutMb: number
    files: number
    refs: number
    idleTimeoutMs: number
    /** How long git may work on the objects of a push, and another second for every megabyte of its pack. */
    unpackTimeoutMs: number
  }
  /** What builds and apps may reach beyond the public internet. */
  egressAllow: EgressRule[]
  /** What the platform itself may call beyond the public internet: receivers of webhooks, git hosts. */
  outboundAllow: EgressRule[]
  /** Whose x-forwarded-* headers are believed. */
  trustedProxies: Network[]
}

export type Network = { address: string; prefix: number; family: 'ipv4' | 'ipv6' }

const port = z.coerce.number().int().min(1).max(65_535)
const count = (low: number, high: number) => z.coerce.number().int().min(low).max(high)
const listenAddress = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9.-]+):\d{1,5}$/, 'must be an address and a port such as 10.0.0.2:8090')
  .transform((text) => ({
    host: text.slice(0, text.lastIndexOf(':')).replace(/^\[|\]$/g, ''),
    port: Number(text.slice(text.lastIndexOf(':') + 1)),
  }))
  .refine(({ port }) => port > 0 && port < 65_536, 'must have a port from 1 to 65535')
const partUrl = z
  .string()
  .regex(/^http:\/\/(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9.-]+):\d{1,5}\/?$/, 'must be an address such as http://10.0.0.2:8090')
  .refine((text) => URL.canParse(text), 'must be an address such as http://10.0.0.2:8090')
  .transform((text) => new URL(text).origin)
const hostName = z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, 'must be a host name such as example.com')

const egressAllow = z.string().transform((text, context): EgressRule[] => {
  const { rules, problems } = parseEgressAllow(text)
  for (const message of problems) context.addIssue({ code: 'custom', message })
  return rules
})

// The same words as there, without names and ports.
const networks = z.string().transform((text, context): Network[] => {
  const { rules, problems } = parseEgressAllow(text)
  const given = rules.flatMap((rule) => (rule.kind === 'network' && rule.port === null ? [rule] : []))
  if (problems.length > 0 || given.length < rules.length)
    context.addIssue({
      code: 'custom',
      message: 'must be addresses and networks such as 10.0.0.7, 10.0.0.0/8, fd00::/8',
    })
  return given.map(({ address, prefix, family }) => ({ address, prefix, family }))
})

// As in PATH.
const sourceRoots = z
  .string()
  .transform((text) => text.split(':').filter(Boolean))
  .refine(
    (roots) => roots.every((root) => root.startsWith('/') && root !== '/'),
    'must be absolute folders, separated by :',
  )

const environment = z.object({
  ATELIER_HOME: z.string().min(1).optional(),
  ATELIER_DOMAIN: hostName.default('localhost'),
  ATELIER_APPS_DOMAIN: hostName.optional(),
  ATELIER_HTTP_PORT: port.default(8080),
  ATELIER_EDGES: count(1, 256).optional(),
  ATELIER_GATEWAY_LISTEN: listenAddress.optional(),
  ATELIER_REGISTRY_LISTEN: listenAddress.optional(),
  ATELIER_GATEWAY_URL: partUrl.optional(),
  ATELIER_REGISTRY_URL: partUrl.optional(),
  ATELIER_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must start with postgres://')
    .optional(),
  ATELIER_APPS_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must start with postgres://')
    .optional(),
  // Not for people: `atelier up` says them to the parts it starts.
  ATELIER_EMBEDDED_APPS_URL: z.string().optional(),
  ATELIER_EMBEDDED_ELDER_URL: z.string().optional(),
  ATELIER_QUEUE_URL: z
    .string()
    .regex(/^rediss?:\/\//, 'must start with redis://')
    .optional(),
  ATELIER_STORE_URL: z
    .string()
    .regex(/^(file:\/|s3:\/\/)/, 'must start with file:/ or s3://')
    .optional(),
  ATELIER_S3_ACCESS_KEY_ID: z.string().optional(),
  ATELIER_S3_SECRET_ACCESS_KEY: z.string().optional(),
  ATELIER_KEY: z.string().optional(),
  ATELIER_ISOLATION: z.enum(['require', 'warn']).optional(),
  ATELIER_RECONCILE_SEC: count(1, 300).default(30),
  ATELIER_REPO_POLL_SEC: count(1, 86_400).default(300),
  ATELIER_AUDIT_DAYS: count(0, 36_500)
    .refine((days) => days === 0 || days >= 30, 'must be 30 days or more, or 0 for ever')
    .default(400),
  ATELIER_EGRESS_ALLOW: egressAllow.optional(),
  ATELIER_OUTBOUND_ALLOW: egressAllow.optional(),
  ATELIER_TRUSTED_PROXIES: networks.optional(),
  ATELIER_FETCH_TIMEOUT_SEC: count(1, 3600).default(120),
  ATELIER_API_TOKEN_RATE: count(0, 1_000_000).default(1200),
  ATELIER_API_ADDRESS_RATE: count(0, 1_000_000).default(3000),
  ATELIER_SOURCE_ROOTS: sourceRoots.optional(),
  ATELIER_BUILD_CONCURRENCY: count(1, 64).default(2),
  ATELIER_BUILD_TIMEOUT_SEC: count(1, 7200).default(900),
  ATELIER_BUILD_MEMORY_MB: count(64, 262_144).default(2048),
  ATELIER_BUILD_DISK_MB: count(16, 1_048_576).default(4096),
  ATELIER_BUILD_LOG_MB: count(1, 1024).default(16),
  ATELIER_BUILD_CACHE_MB: count(0, 1_048_576).default(2048),
  ATELIER_BUILD_CACHE_TOTAL_MB: count(0, 16_777_216).default(20_480),
  ATELIER_APP_MEMORY_MB: count(32, 262_144).default(512),
  ATELIER_APP_DATA_MB: count(1, 1_048_576).default(1024),
  ATELIER_APP_DATABASE_MB: count(16, 16_777_216).default(10_240),
  ATELIER_APP_STUCK_SEC: count(1, 3600).default(30),
  ATELIER_CACHE_MB: count(0, 65_536).default(64),
  ATELIER_CACHE_ENTRY_MB: count(1, 64).default(2),
  ATELIER_PUSH_MAX_MB: count(1, 8192).default(512),
  ATELIER_PUSH_MAX_REFS: count(1, 1000).default(100),
  ATELIER_PUSH_IDLE_SEC: count(10, 3600).default(60),
  ATELIER_PUSH_UNPACK_SEC: count(1, 3600).default(15),
  ATELIER_CHECKOUT_MAX_MB: count(1, 16_384).default(1024),
  ATELIER_CHECKOUT_MAX_FILES: count(1, 1_000_000).default(50_000),
})

/** The platform's settings, read from the environment. Pure, and home of every default; throws CONFIG_ENV naming each bad variable. */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.entries(env).filter(([name, value]) => name.startsWith('ATELIER_') && value !== ''),
  )
  const read = environment.safeParse(given, { error: problemText({ value: given, isShown: true }) })
  if (!read.success) {
    const problems = read.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    throw new AppError('CONFIG_ENV', problems.join('; '))
  }

  const settings = read.data
  if (settings.ATELIER_STORE_URL?.startsWith('s3:')) parseS3Url(settings.ATELIER_STORE_URL)
  const home = resolve(settings.ATELIER_HOME ?? defaultHome(env))
  return {
    home,
    runDir: join(home, 'run'),
    domain: settings.ATELIER_DOMAIN,
    appsDomain: settings.ATELIER_APPS_DOMAIN ?? `apps.${settings.ATELIER_DOMAIN}`,
    httpPort: settings.ATELIER_HTTP_PORT,
    edges: settings.ATELIER_EDGES ?? availableParallelism(),
    gatewayListen: settings.ATELIER_GATEWAY_LISTEN ?? null,
    registryListen: settings.ATELIER_REGISTRY_LISTEN ?? null,
    gatewayUrl: settings.ATELIER_GATEWAY_URL ?? null,
    registryUrl: settings.ATELIER_REGISTRY_URL ?? null,
    databaseUrl: settings.ATELIER_DATABASE_URL ?? null,
    appsDatabaseUrl: settings.ATELIER_APPS_DATABASE_URL ?? null,
    embedded: settings.ATELIER_EMBEDDED_APPS_URL
      ? { appsUrl: settings.ATELIER_EMBEDDED_APPS_URL, elderUrl: settings.ATELIER_EMBEDDED_ELDER_URL ?? null }
      : null,
    queueUrl: settings.ATELIER_QUEUE_URL ?? null,
    storeUrl: settings.ATELIER_STORE_URL ?? `file:${join(home, 'store')}`,
    s3Keys: s3Keys(settings),
    key: settings.ATELIER_KEY ?? null,
    isolation: settings.ATELIER_ISOLATION ?? (settings.ATELIER_DATABASE_URL ? 'require' : 'warn'),
    reconcileMs: settings.ATELIER_RECONCILE_SEC * 1000,
    fetchTimeoutMs: settings.ATELIER_FETCH_TIMEOUT_SEC * 1000,
    apiLimits: { token: settings.ATELIER_API_TOKEN_RATE, address: settings.ATELIER_API_ADDRESS_RATE },
    sourceRoots: settings.ATELIER_SOURCE_ROOTS ?? [],
    auditDays: settings.ATELIER_AUDIT_DAYS || null,
    repoPollMs: settings.ATELIER_REPO_POLL_SEC * 1000,
    buildConcurrency: settings.ATELIER_BUILD_CONCURRENCY,
    buildLimits: {
      timeoutMs: settings.ATELIER_BUILD_TIMEOUT_SEC * 1000,
      memoryMb: settings.ATELIER_BUILD_MEMORY_MB,
      processes: 512,
      diskMb: settings.ATELIER_BUILD_DISK_MB,
      outputBytes: settings.ATELIER_BUILD_LOG_MB * 1_048_576,
    },
    buildCaches: { appMb: settings.ATELIER_BUILD_CACHE_MB, totalMb: settings.ATELIER_BUILD_CACHE_TOTAL_MB },
    appLimits: {
      memoryMb: settings.ATELIER_APP_MEMORY_MB,
      dataMb: settings.ATELIER_APP_DATA_MB,
      databaseMb: settings.ATELIER_APP_DATABASE_MB,
      processes: 256,
      stuckAfterMs: settings.ATELIER_APP_STUCK_SEC * 1000,
    },
    responseCache: {
      cacheBytes: settings.ATELIER_CACHE_MB * 1_048_576,
      cacheEntryBytes: settings.ATELIER_CACHE_ENTRY_MB * 1_048_576,
    },
    egressAllow: settings.ATELIER_EGRESS_ALLOW ?? [],
    outboundAllow: settings.ATELIER_OUTBOUND_ALLOW ?? [],
    trustedProxies: settings.ATELIER_TRUSTED_PROXIES ?? [],
    pushLimits: {
      packMb: settings.ATELIER_PUSH_MAX_MB,
      checkoutMb: settings.ATELIER_CHECKOUT_MAX_MB,
      files: settings.ATELIER_CHECKOUT_MAX_FILES,
      refs: settings.ATELIER_PUSH_MAX_REFS,
      idleTimeoutMs: settings.ATELIER_PUSH_IDLE_SEC * 1000,
      unpackTimeoutMs: settings.ATELIER_PUSH_UNPACK_SEC * 1000,
    },
  }
}

function s3Keys({
  ATELIER_S3_ACCESS_KEY_ID: accessKeyId,
  ATELIER_S3_SECRET_ACCESS_KEY: secretAccessKey,
}: z.infer<typeof environment>): Config['s3Keys'] {
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey }
  if (!accessKeyId && !secretAccessKey) return null
  const missing = accessKeyId ? 'ATELIER_S3_SECRET_ACCESS_KEY' : 'ATELIER_S3_ACCESS_KEY_ID'
  throw new AppError('CONFIG_ENV', `${missing}: is missing; an access key and its secret are set together`)
}

/** Address of an app or preview by its host label, without a trailing slash: `http://hello.apps.localhost:8080`. */
export function appUrl(config: Config, label: string): string {
  return origin(config, `${label}.${config.appsDomain}`)
}

/** Remote URL of an app's git repository. */
export function gitUrl(config: Config, app: string): string {
  return `${origin(config, `git.${config.domain}`)}/${app}.git`
}

export function apiUrl(config: Config): string {
  return origin(config, `api.${config.domain}`)
}

export function consoleUrl(config: Config): string {
  return origin(config, `console.${config.domain}`)
}

function origin(config: Config, host: string): string {
  return config.httpPort === 80 ? `http://${host}` : `http://${host}:${config.httpPort}`
}

function defaultHome(env: Record<string, string | undefined>): string {
  if (process.getuid?.() === 0) return '/var/lib/atelier'
  return join(env.XDG_STATE_HOME || join(env.HOME || homedir(), '.local/state'), 'atelier')
}
