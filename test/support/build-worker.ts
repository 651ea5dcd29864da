import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { zstdCompressSync } from 'node:zlib'
import { Attempts } from '../../build-workers/attempt.ts'
import { type BuildDeps, build } from '../../build-workers/build.ts'
import { BuildCaches } from '../../build-workers/build-caches.ts'
import { openBuildNetworks } from '../../build-workers/build-egress.ts'
import { GitNetworks } from '../../build-workers/git-network.ts'
import { type HostNpm, hostNpmOnce } from '../../build-workers/host-npm.ts'
import { createApp } from '../../registry/apps.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import { readBuildLog } from '../../registry/build-logs.ts'
import { readManifest } from '../../registry/bundle-store/bundles.ts'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { sourceKey } from '../../registry/bundle-store/keys.ts'
import { readConfig } from '../../registry/config.ts'
import { createDeployment, type Deployment, findDeployment } from '../../registry/deployments.ts'
import { renewLease, reportPrepared, wantedPreparations } from '../../registry/edges.ts'
import { setEnv } from '../../registry/env-vars.ts'
import { createLog } from '../../registry/log.ts'
import type { Manifest } from '../../registry/manifest.ts'
import { readRoutedDeployment } from '../../registry/routes.ts'
import { every } from '../../registry/schedule.ts'
import type { Isolation } from '../../sandbox/isolation.ts'
import { AppNetworks } from '../../sandbox/network/app-network.ts'
import { createDatabase } from './database.ts'

const strongest: Isolation = { mode: 'full', walls: null, holes: [], missing: [], advice: [] }

export type TestFiles = Record<string, string | Buffer | object>
/** `canary: 'wanted'`: the deployment begins a rollout, which is the test's to lead. */
export type PushOptions = { branch?: string; canary?: 'skip' | 'wanted'; isForced?: boolean; isFork?: boolean }
export type Built = { deployment: Deployment; log: string[]; manifest: Manifest | null; tookMs: number }

const unproved = { current: () => Promise.resolve(strongest), demand: () => Promise.resolve() }

/** A build worker with a home, a database and a store of its own, and an edge that says yes to everything. For tests. */
export class TestWorker {
  readonly deps: BuildDeps
  readonly home: string
  readonly enqueued: string[]
  readonly #close: () => Promise<void>

  private constructor(deps: BuildDeps, home: string, enqueued: string[], close: () => Promise<void>) {
    this.enqueued = enqueued
    this.deps = deps
    this.home = home
    this.#close = close
  }

  static async start(
    env: Record<string, string> = {},
    given: { npm?: () => Promise<HostNpm> } = {},
  ): Promise<TestWorker> {
    const home = await mkdtemp(join(tmpdir(), 'worker-'))
    const database = await createDatabase()
    const config = readConfig({
      ATELIER_HOME: home,
      ATELIER_DATABASE_URL: database.url,
      ATELIER_ISOLATION: 'warn',
      ...env,
    })
    const log = createLog('worker')
    log.level = process.env['TEST_LOG'] ?? 'silent'
    const { sql } = database
    const attempts = await Attempts.start(sql)
    const npm = given.npm ?? hostNpmOnce(process.env, { toolsDir: join(home, 'cache', 'tools'), log })
    const networks = openBuildNetworks(config, { npm, env: process.env })
    const gitNetworks = new GitNetworks(config)
    const appNetworks = AppNetworks.open({ egressAllow: config.egressAllow, log })
    const store = new FileStore(join(home, 'store'))
    const enqueued: string[] = []
    const queue = {
      enqueueBuild: async ({ id }: { id: string }) => void enqueued.push(id),
      close: async () => undefined,
    }
    const deps = {
      sql,
      store,
      queue,
      config,
      key: randomBytes(32),
      npm,
      networks,
      gitNetworks,
      caches: new BuildCaches({ config, sql, log }),
      appNetworks,
      isolation: unproved,
      attempts,
      workerId: 'test-worker',
      log,
    }
    const edge = every(
      20,
      async () => {
        await renewLease(sql, 'test-edge')
        for (const deploymentId of await wantedPreparations(sql, 'test-edge'))
          await reportPrepared(sql, { edgeId: 'test-edge', deploymentId, ready: true })
      },
      { log, name: 'edge' },
    )
    return new TestWorker(deps, home, enqueued, async () => {
      await edge.close()
      await attempts.close()
      await Promise.all([networks.close(), gitNetworks.close()])
      await (await appNetworks).close()
      await database[Symbol.asyncDispose]()
      await rm(home, { recursive: true, force: true })
    })
  }

  async createApp(id = `app-${randomUUID().slice(0, 8)}`): Promise<string> {
    await createApp(this.deps.sql, { id: /^[a-z]/.test(id) ? id : `a${id}`, by: 'test' })
    return id
  }

  /** Creates a deployment of these files, with a SHA made up for it. */
  async push(app: string, files: TestFiles, options: PushOptions = {}): Promise<Deployment> {
    const folder = await mkdtemp(join(tmpdir(), 'push-'))
    try {
      for (const [path, content] of Object.entries(files)) {
        await mkdir(dirname(join(folder, path)), { recursive: true })
        const bytes = typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content)
        await writeFile(join(folder, path), bytes, { mode: path.startsWith('bin/') ? 0o755 : 0o644 })
      }
      return await this.pushFolder(app, folder, { ...options, leftOut: [] })
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  async pushFolder(
    app: string,
    folder: string,
    {
      branch = 'main',
      canary = 'skip',
      isForced = false,
      isFork = false,
      leftOut = ['node_modules'],
    }: PushOptions & { leftOut?: string[] } = {},
  ): Promise<Deployment> {
    const { sql, store } = this.deps
    const version = randomBytes(20).toString('hex')
    const excluded = leftOut.map((name) => `--exclude=./${name}`)
    const tar = await promisify(execFile)('tar', ['-c', '-C', folder, ...excluded, '.'], {
      encoding: 'buffer',
      maxBuffer: 1 << 30,
    })
    await store.put(sourceKey(app, version), zstdCompressSync(tar.stdout))
    return createDeployment(sql, {
      app,
      target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
      version,
      source: 'upload',
      by: 'test',
      sourceKey: sourceKey(app, version),
      // Nobody leads rollouts here.
      options: {
        ...(canary === 'skip' && { canary }),
        ...(isForced && { forceBuild: true, clearCaches: true }),
        ...(isFork && { fork: true }),
      },
    })
  }

  async setEnv(app: string, values: Record<string, string>, { runtimeOnly = false } = {}): Promise<void> {
    const { sql, key } = this.deps
    await setEnv(sql, { app, environment: 'production' }, { values, runtimeOnly, by: 'test', key })
  }

  /** Builds it in this process, and says what came of it. */
  async build(deployment: Deployment): Promise<Built> {
    const started = performance.now()
    await build(deployment.id, this.deps)
    return { ...(await this.read(deployment)), tookMs: performance.now() - started }
  }

  async deploy(app: string, files: TestFiles): Promise<Built> {
    return this.build(await this.push(app, files))
  }

  async read({ id }: { id: string }): Promise<Omit<Built, 'tookMs'>> {
    const { sql, store } = this.deps
    const deployment = await findDeployment(sql, id)
    if (!deployment) throw new Error(`deployment ${id} is gone`)
    const lines = await readBuildLog(sql, id, { limit: 100_000 })
    const routed = await readRoutedDeployment(sql, id)
    const manifest = routed && (await readManifest(store, { key: routed.manifestKey, sha256: routed.manifestSha256 }))
    return { deployment, log: lines.map(({ text }) => text), manifest }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close()
  }
}
