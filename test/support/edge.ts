import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { create } from 'tar'
import { type ProxyOptions, type RunningProxy, startProxy } from '../../proxy/proxy.ts'
import { createApp, findApp } from '../../registry/apps.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import type { BundleStore } from '../../registry/bundle-store/contract.ts'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { blobKey, manifestKey, serverKey } from '../../registry/bundle-store/keys.ts'
import { claimBuild, recordBuild } from '../../registry/claims.ts'
import { type Config, readConfig } from '../../registry/config.ts'
import { createDeployment, type Deployment, moveDeployment } from '../../registry/deployments.ts'
import { awaitRouteSeen } from '../../registry/edges.ts'
import { newId } from '../../registry/ids.ts'
import { createLog } from '../../registry/log.ts'
import type { Manifest } from '../../registry/manifest.ts'
import { awaitPrepared, goLive, markPrepared, requestPrepare } from '../../registry/release.ts'
import { loadKey } from '../../registry/secrets.ts'
import { connect as connectSql, type Sql } from '../../registry/sql.ts'
import { emptyManifest } from './manifest.ts'

/** A bundle as a test writes it: static files and server code by path, both as text. */
export type TestBundle = Partial<
  Pick<
    Manifest,
    | 'spa_fallback'
    | 'health'
    | 'drain_timeout_sec'
    | 'sleep_after_min'
    | 'max_isolates'
    | 'data'
    | 'header_rules'
    | 'redirects'
  >
> & {
  kind: Manifest['kind']
  files?: Record<string, string | Buffer>
  /** The first file is the entry. */
  server?: Record<string, string>
  /** In its place: a bundle that is packed already. */
  packed?: { archive: Buffer; entry: string }
  /** Of kind `process`. */
  start?: string
}

export type Answer = { status: number; headers: IncomingHttpHeaders; body: string; bytes: Buffer }
/** `from`: an address of this machine. */
export type Asked = { method?: string; headers?: Record<string, string>; body?: string; from?: string }

// On a machine that is busy with other tests an edge process that gets no turn for some seconds is none that hangs, and a host takes long to start.
const patient = { edgeStartMs: 120_000, maxUnansweredPings: 60, headersTimeoutMs: 60_000, waitForHostMs: 60_000 }

/** A real proxy on a home of its own, and what a build worker would do to put bundles before its users. */
export class TestEdge {
  readonly config: Config
  readonly sql: Sql
  readonly store: BundleStore
  readonly #options: ProxyOptions
  readonly #databaseUrl: string
  #proxySql: Sql | null = null
  #proxy: RunningProxy | null = null
  #versions = 0

  static async start(
    databaseUrl: string,
    { env = {}, edges = 1, limits, ...options }: ProxyOptions & { env?: Record<string, string>; edges?: number } = {},
  ): Promise<TestEdge> {
    const home = await mkdtemp(join(tmpdir(), 'atl-'))
    const config = readConfig({
      ...{ ATELIER_HOME: home, ATELIER_DATABASE_URL: databaseUrl },
      ...{ ATELIER_EDGES: String(edges), ...env },
    })
    const edge = new TestEdge(config, databaseUrl, { ...options, limits: { ...patient, ...limits } })
    await edge.open()
    return edge
  }

  private constructor(config: Config, databaseUrl: string, options: ProxyOptions) {
    this.config = config
    this.#databaseUrl = databaseUrl
    this.#options = { host: '127.0.0.1', port: 0, ...options }
    this.sql = connectSql(databaseUrl, { name: 'test' })
    this.store = new FileStore(join(config.home, 'store'))
  }

  get port(): number {
    return this.#proxy?.port ?? 0
  }

  /** Of the edge processes that run now. */
  get edgePids(): number[] {
    return this.#proxy?.edgePids() ?? []
  }

  get edgeId(): string {
    return this.#proxy?.edgeId ?? ''
  }

  /** Starts the proxy (again), by default on the same database. */
  async open(databaseUrl: string = this.#databaseUrl): Promise<void> {
    this.#proxySql = connectSql(databaseUrl, { name: 'test proxy', max: 4 })
    const key = await loadKey(this.config)
    const log = createLog('proxy')
    log.level = process.env.ATELIER_LOG_LEVEL ?? 'error'
    const deps = { sql: this.#proxySql, store: this.store, key, log }
    this.#proxy = await startProxy(this.config, deps, this.#options)
  }

  async shut(): Promise<void> {
    await this.#proxy?.close()
    await this.#proxySql?.end({ timeout: 0 })
    this.#proxy = null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shut()
    await this.sql.end({ timeout: 0 })
    await rm(this.config.home, { recursive: true, force: true })
  }

  /**
   * Builds, prepares and puts a bundle before the users of `app`, and returns when they see it, whichever edge process they come to. Throws
   * with the edge's reason when it cannot be prepared.
   */
  async deploy(app: string, bundle: TestBundle, branch = 'main'): Promise<Deployment> {
    const deployment = await this.prepare(app, bundle, branch)
    const live = await goLive(this.sql, deployment.id, { config: this.config, by: 'test' })
    if (!live) throw new Error(`${app} did not go live`)
    if (!(await awaitRouteSeen(this.sql, live.id, { timeoutMs: 60_000 })))
      throw new Error(`the edge does not go by ${app}`)
    await this.untilServed(live.label, live.version)
    return live
  }

  /** Resolves when the host's responses come from this version; throws after a minute. */
  async untilServed(host: string, version: string): Promise<void> {
    const deadline = performance.now() + 60_000
    while ((await this.ask(host, '/', { method: 'HEAD' })).headers['x-atelier-deployment'] !== version) {
      if (performance.now() > deadline) throw new Error(`${host} does not serve ${version}`)
    }
  }

  /** As far as ready on the edge. */
  async prepare(app: string, bundle: TestBundle, branch = 'main'): Promise<Deployment> {
    const { sql } = this
    if (!(await findApp(sql, app))) await createApp(sql, { id: app, by: 'test' })
    const version = `1.0.${++this.#versions}`
    const target = targetOfBranch({ id: app, productionBranch: 'main' }, branch)
    const queued = await createDeployment(sql, { app, target, version, source: 'upload', by: 'test' })
    const claim = await claimBuild(sql, queued.id, 'test-worker')
    if (!claim) throw new Error(`${queued.id} is not to be built`)
    await recordBuild(sql, claim, await this.publish(app, version, bundle))
    await moveDeployment(sql, queued.id, { from: 'building', to: 'built', by: 'test' })
    await moveDeployment(sql, queued.id, { from: 'built', to: 'uploading', by: 'test' })
    await requestPrepare(sql, queued.id)
    const { ready, failed } = await awaitPrepared(sql, queued.id, { timeoutMs: 120_000 })
    if (ready.length === 0) {
      const reason = failed[0]?.reason ?? 'no edge answered'
      await moveDeployment(sql, queued.id, { from: 'uploading', to: 'failed', by: 'test', reason })
      throw new Error(reason)
    }
    await markPrepared(sql, claim)
    return queued
  }

  /** Stores the bundle and returns the build that names it. */
  async publish(app: string, version: string, bundle: TestBundle) {
    const build = newId()
    const name = { app, version, build }
    const files = await Promise.all(
      Object.entries(bundle.files ?? {}).map(([path, content]) => this.#storeFile(path, Buffer.from(content))),
    )
    const archive = bundle.packed?.archive ?? (bundle.server ? await packServer(bundle.server) : null)
    if (archive) await this.store.put(serverKey(name), archive)
    const manifest: Manifest = {
      ...emptyManifest,
      ...{ app_id: app, version, build, kind: bundle.kind, files },
      server: archive && {
        entry: bundle.packed?.entry ?? Object.keys(bundle.server ?? {})[0] ?? '',
        start: bundle.start === undefined ? null : { command: bundle.start, folder: '' },
        sha256: sha256(archive),
        size: archive.length,
        modules: null,
      },
      spa_fallback: bundle.spa_fallback ?? false,
      ...{ header_rules: bundle.header_rules ?? [], redirects: bundle.redirects ?? [] },
      health: bundle.health ?? { path: '/', timeout_sec: 5, strict: false },
      drain_timeout_sec: bundle.drain_timeout_sec ?? 30,
      data: bundle.data ?? false,
      max_isolates: bundle.max_isolates ?? null,
      sleep_after_min: bundle.sleep_after_min ?? null,
    }
    const bytes = Buffer.from(JSON.stringify(manifest))
    await this.store.put(manifestKey(name), bytes)
    return {
      ...{
        id: build,
        kind: bundle.kind,
        framework: 'test',
        manifestKey: manifestKey(name),
        manifestSha256: sha256(bytes),
      },
      ...{ publicEnvHash: '', bundleSize: 0, durationMs: 0 },
    }
  }

  /** One request, on a connection of its own. `host` is an app's label or a whole host name. */
  async ask(host: string, path: string, { method = 'GET', headers = {}, body, from }: Asked = {}): Promise<Answer> {
    const asked = httpRequest({
      ...{ host: '127.0.0.1', port: this.port, method, path, agent: false, localAddress: from },
      headers: { host: this.hostOf(host), ...headers },
    })
    asked.end(body)
    const [response] = await once(asked, 'response')
    const bytes = await buffer(response)
    return { status: response.statusCode, headers: response.headers, body: bytes.toString('utf8'), bytes }
  }

  /** A bare connection to the edge. */
  async socket(from?: string): Promise<Socket> {
    const socket = connect({ port: this.port, host: '127.0.0.1', localAddress: from })
    await once(socket, 'connect')
    return socket
  }

  /** Sends bytes as they are and returns all that comes back until the edge closes the connection. */
  async raw(text: string): Promise<string> {
    const socket = await this.socket()
    const answer = buffer(socket)
    socket.write(text, 'latin1')
    return (await answer).toString('latin1')
  }

  hostOf(host: string): string {
    return host.includes('.') ? host : `${host}.${this.config.appsDomain}`
  }

  async #storeFile(path: string, bytes: Buffer): Promise<Manifest['files'][number]> {
    const put = async (content: Buffer) => {
      await this.store.put(blobKey(sha256(content)), content)
      return { sha256: sha256(content), size: content.length }
    }
    const forms = [
      { encoding: 'br' as const, content: brotliCompressSync(bytes) },
      { encoding: 'zstd' as const, content: zstdCompressSync(bytes) },
      { encoding: 'gzip' as const, content: gzipSync(bytes) },
    ]
    const isWorth = bytes.length > 200 && !path.endsWith('.bin')
    const encodings = await Promise.all(
      (isWorth ? forms : []).map(async ({ encoding, content }) => ({ encoding, ...(await put(content)) })),
    )
    return { path, content_type: typeOf(path), encodings, ...(await put(bytes)) }
  }
}

async function packServer(files: Record<string, string>): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'atl-pack-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true })
      await writeFile(join(directory, path), text)
    }
    const tar = await buffer(create({ cwd: directory, portable: true }, Object.keys(files)))
    return zstdCompressSync(tar)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function typeOf(path: string): string {
  const types: Record<string, string> = {
    html: 'text/html; charset=utf-8',
    js: 'text/javascript; charset=utf-8',
    css: 'text/css; charset=utf-8',
    txt: 'text/plain; charset=utf-8',
  }
  return types[path.split('.').at(-1) ?? ''] ?? 'application/octet-stream'
}
