import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { type AddressInfo, connect as connectSocket, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { appendBuildLog } from '../registry/build-logs.ts'
import type { BundleStore } from '../registry/bundle-store/contract.ts'
import { FileStore } from '../registry/bundle-store/file.ts'
import { manifestKey } from '../registry/bundle-store/keys.ts'
import { type Claim, claimBuild, recordBuild } from '../registry/claims.ts'
import { readConfig } from '../registry/config.ts'
import { listDeployments, moveDeployment } from '../registry/deployments.ts'
import { newId } from '../registry/ids.ts'
import { openQueue, startBuildWorker } from '../registry/queue.ts'
import { markPrepared } from '../registry/release.ts'
import type { Sql } from '../registry/sql.ts'
import { type authenticate, createToken, type Scope } from '../registry/tokens.ts'
import { Gateway } from './gateway.ts'
import { runGit } from './test-repo.ts'

/** Plays the build of one deployment: log lines, then nothing for success or a reason for failure. */
export type Build = (claim: Claim, say: (line: string) => Promise<void>) => Promise<string | undefined>

/**
 * A gateway on a home of its own with a real database, store and queue, reached by real git over loopback TCP. The worker at the end of the
 * queue is played by `build`. `asProcess`: the gateway is a process of its own,
 * as in the platform, with these settings besides, and may be killed.
 */
export async function startTestGateway(
  database: { url: string; sql: Sql },
  {
    env = {},
    build = buildsWell,
    asProcess = null,
    idleTimeoutMs,
    identify,
  }: {
    env?: Record<string, string>
    build?: Build
    asProcess?: Record<string, string> | null
    idleTimeoutMs?: number
    /** Instead of asking the database who holds a token. */
    identify?: typeof authenticate
  } = {},
) {
  const home = await mkdtemp(join(tmpdir(), 'gw-'))
  const settings = { ATELIER_HOME: home, ATELIER_DATABASE_URL: database.url, ATELIER_HTTP_PORT: '80', ...env }
  const config = readConfig(settings)
  config.pushLimits.idleTimeoutMs = idleTimeoutMs ?? config.pushLimits.idleTimeoutMs
  const log = pino({ level: process.env.ATELIER_LOG_LEVEL ?? 'fatal' })
  const store = new FileStore(join(config.home, 'store'))
  const queue = openQueue(config, { log })
  const played = { build }
  const worker = startBuildWorker(config, (id) => playBuild(database.sql, id, played), { concurrency: 4, log })
  await mkdir(config.runDir, { recursive: true })
  const start = (): Promise<Running> =>
    asProcess
      ? startProcess({ ...settings, ...asProcess })
      : Gateway.start({ sql: database.sql, store, queue, config, log, identify })
  let gateway = await start()
  const relay = await relayTo(join(config.runDir, 'gateway.sock'))
  const { secret } = await createToken(database.sql, { name: 'ada', scope: 'admin' })

  return {
    home,
    config,
    port: relay.port,
    secret,
    store: store as BundleStore,
    /** Replaces what the worker does. */
    play: (next: Build) => {
      played.build = next
    },
    url: (app: string, { user = 'ada', password = secret }: { user?: string; password?: string } = {}) =>
      `http://${user}:${password}@127.0.0.1:${relay.port}/${app}.git`,
    token: async (scope: Scope, appId: string | null = null) =>
      (await createToken(database.sql, { name: scope, scope, appId })).secret,
    deployments: (app: string) => listDeployments(database.sql, { app, limit: 100 }),
    /** SHA by ref name, as the app's repository has them. */
    refs: async (app: string) => {
      const { stdout } = await runGit(home, [
        `--git-dir=${home}/git/${app}.git`,
        'for-each-ref',
        '--format=%(refname) %(objectname)',
      ])
      return Object.fromEntries(stdout.split('\n').flatMap((line) => (line ? [line.split(' ')] : [])))
    },
    repository: (app: string) => join(home, 'git', `${app}.git`),
    /** The git processes that work on this home. */
    gitProcesses: () => findProcesses(home),
    stop: () => gateway.close(),
    kill: () => gateway.kill?.(),
    /** Of a gateway that is a process of its own. */
    pid: () => gateway.pid,
    isRunning: () => gateway.isRunning?.() ?? true,
    start: async () => {
      gateway = await start()
    },
    async [Symbol.asyncDispose]() {
      await relay.close()
      await gateway.close()
      await worker.close()
      await queue.close()
      await rm(home, { recursive: true, force: true })
    },
  }
}

type Running = {
  close(): Promise<void>
  kill?: () => Promise<void>
  pid?: number | undefined
  isRunning?: () => boolean
}

async function startProcess(env: Record<string, string>): Promise<Running> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { PATH: process.env.PATH, ATELIER_LOG_LEVEL: process.env.ATELIER_LOG_LEVEL ?? 'fatal', ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  await once(child, 'message')
  const end = async (signal: NodeJS.Signals) => {
    if (hasEnded(child)) return
    child.kill(signal)
    await once(child, 'exit')
  }
  return { close: () => end('SIGTERM'), kill: () => end('SIGKILL'), pid: child.pid, isRunning: () => !hasEnded(child) }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

async function findProcesses(home: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const command = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(String)).replaceAll('\0', ' ')
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(String)
      return cwd.startsWith(`${home}/git`) || command.includes(`${home}/git`) ? `${pid} ${command}` : null
    }),
  )
  return found.filter((process) => process !== null)
}

export type TestGateway = Awaited<ReturnType<typeof startTestGateway>>

/** A worker that needs no time. */
export const buildsWell: Build = async (claim, say) => {
  await say(`-----> ${claim.appId} ${claim.version.slice(0, 7)} · static files`)
  return undefined
}

async function playBuild(sql: Sql, deploymentId: string, played: { build: Build }): Promise<void> {
  const claim = await claimBuild(sql, deploymentId, 'test-worker')
  if (!claim) return
  const reason = await played.build(claim, (line) => appendBuildLog(sql, claim.id, [line]))
  if (reason) {
    await moveDeployment(sql, claim.id, {
      from: 'building',
      to: 'failed',
      by: 'test',
      reason,
      errorCode: 'BUILD_FAILED',
    })
    return
  }
  await moveDeployment(sql, claim.id, { from: 'building', to: 'built', by: 'test' })
  await moveDeployment(sql, claim.id, { from: 'built', to: 'uploading', by: 'test' })
  if (!claim.buildId) await recordBuild(sql, claim, madeUpBuild(claim))
  await markPrepared(sql, claim)
}

// Nobody leads rollouts here.
function madeUpBuild(claim: Claim) {
  const id = newId()
  return {
    rolloutPolicy: 'skip' as const,
    id,
    kind: 'static',
    framework: 'static',
    manifestKey: manifestKey({ app: claim.appId, version: claim.version, build: id }),
    manifestSha256: '0'.repeat(64),
    publicEnvHash: '',
    bundleSize: 0,
    durationMs: 1,
  }
}

// git speaks HTTP over TCP only; in the platform the proxy stands here.
async function relayTo(socketPath: string): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<{ destroy(): void }>()
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connectSocket(socketPath)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroySoon()
      })
      from.pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A build that waits until it is told how to end. */
export function gatedBuild() {
  const started = Promise.withResolvers<Claim>()
  const outcome = Promise.withResolvers<string | undefined>()
  const build: Build = async (claim, say) => {
    await say('-----> Building')
    started.resolve(claim)
    return outcome.promise
  }
  return { build, started: started.promise, end: outcome.resolve }
}
