import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as open } from 'node:http'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text as readText } from 'node:stream/consumers'
import { getRequestListener } from '@hono/node-server'
import { createApi } from '../../registry/api/api.ts'
import { createFront } from '../../registry/api/front.ts'
import { createApp } from '../../registry/apps.ts'
import { targetOfBranch } from '../../registry/branches.ts'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { claimBuild, recordBuild } from '../../registry/claims.ts'
import { type Config, readConfig } from '../../registry/config.ts'
import { createConsole } from '../../registry/console/console.ts'
import { createDeployment, type Deployment, moveDeployment } from '../../registry/deployments.ts'
import { newId } from '../../registry/ids.ts'
import { listenOnSocket } from '../../registry/listen.ts'
import { createLog } from '../../registry/log.ts'
import { setMember } from '../../registry/members.ts'
import { createPerson } from '../../registry/people.ts'
import { bringOut, goLive, markPrepared } from '../../registry/release.ts'
import type { PlatformRole, Role } from '../../registry/rights.ts'
import { findOpenRollout, openSegment, type Rollout } from '../../registry/rollout.ts'
import type { Sql } from '../../registry/sql.ts'
import { createToken, type Scope } from '../../registry/tokens.ts'
import { createDatabase } from './database.ts'

export type Answer = {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  json: unknown
}

export type Ask = {
  token?: string | null
  host?: string
  headers?: Record<string, string>
  json?: unknown
  body?: Buffer | Readable
  signal?: AbortSignal
}

/**
 * The registry's HTTP side on a unix socket, over a real database and a real store, with nobody building: tests play the worker, by hand
 * or with `onWake`. With `relay` it is reached over TCP too, at `config.httpPort`.
 */
export async function startControlPlane({
  relay: isRelayed = false,
  env = {},
}: {
  relay?: boolean
  env?: Record<string, string>
} = {}) {
  const database = await createDatabase({ max: 12 })
  const home = await mkdtemp(join(tmpdir(), 'atelier-api-'))
  const socketPath = join(home, 'registry.sock')
  const relay = isRelayed ? await Relay.open(socketPath) : null
  const config = readConfig({
    ATELIER_HOME: home,
    ATELIER_DATABASE_URL: database.url,
    // Tests ask more often than anybody.
    ATELIER_API_TOKEN_RATE: '0',
    ATELIER_API_ADDRESS_RATE: '0',
    ...(relay && { ATELIER_HTTP_PORT: String(relay.port) }),
    ...env,
  })
  const { sql } = database
  const log = createLog('test')
  const woken: string[] = []
  const worker = { onWake: (_id: string): void => undefined }
  const closing = new AbortController()
  const deps = {
    sql,
    config,
    log,
    store: new FileStore(join(home, 'store')),
    key: randomBytes(32),
    queue: {
      enqueueBuild: async ({ id }: { id: string }) => {
        woken.push(id)
        worker.onWake(id)
      },
      close: async () => undefined,
    },
    closing: closing.signal,
  }
  const api = createApi(deps)
  const console = createConsole({ sql, config, log, api: (request, signedIn) => api.fetch(request, { signedIn }) })
  const front = createFront({
    config,
    log,
    api: (request) => api.fetch(request),
    console: (request) => console.fetch(request),
  })
  const listening = await listenOnSocket(socketPath, getRequestListener(front))

  const stream = async (method: string, path: string, { token, host, headers, json, body, signal }: Ask = {}) => {
    const bytes = json === undefined ? body : Buffer.from(JSON.stringify(json))
    const response = await new Promise<Readable & { statusCode?: number; headers: Answer['headers'] }>(
      (resolve, reject) => {
        const sent = open({
          socketPath,
          method,
          path: path.startsWith('/') ? path : `/api/platform/${path}`,
          signal,
          agent: false,
          headers: {
            host: host ?? 'api.localhost:8080',
            ...(token && { authorization: `Bearer ${token}` }),
            ...(json !== undefined && { 'content-type': 'application/json' }),
            ...headers,
          },
        })
        sent.once('response', resolve)
        sent.once('error', reject)
        if (bytes instanceof Readable) bytes.once('error', (error) => sent.destroy(error)).pipe(sent)
        else sent.end(bytes)
      },
    )
    return response
  }

  return {
    ...deps,
    database,
    home,
    socketPath,
    woken,
    worker,
    relay,
    stream,
    async ask(method: string, path: string, how: Ask = {}): Promise<Answer> {
      const response = await stream(method, path, how)
      const text = await readText(response)
      const isJson = String(response.headers['content-type']).startsWith('application/json')
      return {
        status: response.statusCode ?? 0,
        headers: response.headers,
        text,
        json: isJson ? JSON.parse(text) : null,
      }
    },
    async token(scope: Scope = 'admin', appId: string | null = null): Promise<string> {
      return (await createToken(sql, { name: `${scope}-${appId ?? 'all'}`, scope, appId })).secret
    },
    /** A person, and what makes tokens of theirs. */
    async person(platformRole: PlatformRole = 'member', roles: Record<string, Role> = {}) {
      const person = await createPerson(sql, { name: newId(), platformRole, by: 'root' })
      for (const [app, role] of Object.entries(roles))
        await setMember(sql, { app, personId: person.id, role, by: 'root' })
      return {
        ...person,
        token: async (scope: Scope = 'admin', appId: string | null = null) =>
          (await createToken(sql, { name: `${scope}-of-${person.name}`, scope, appId, personId: person.id })).secret,
      }
    },
    async app(): Promise<string> {
      return (await createApp(sql, { id: newId(), by: 'ada' })).id
    },
    /** A deployment that went all the way, as a worker would have taken it there. */
    deployed: (app: string, version: string, branch = 'main') => deployed(sql, config, { app, version, branch }),
    /** A new version with 5 % of the traffic, or with `percent`. */
    async rollout(app: string, version: string, percent = 5): Promise<Rollout> {
      const { id } = await queued(sql, { app, version, branch: 'main' })
      return beginRollout(sql, config, id, percent)
    },
    async close() {
      closing.abort()
      await relay?.close()
      await listening.close()
      await database[Symbol.asyncDispose]()
      await rm(home, { recursive: true, force: true })
    },
  }
}

export type ControlPlane = Awaited<ReturnType<typeof startControlPlane>>

/** A TCP port that leads to a unix socket, and can be cut. */
class Relay {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  static async open(socketPath: string): Promise<Relay> {
    const server = createServer({ allowHalfOpen: true }, (client) => relay.#join(client, socketPath))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const relay = new Relay(server, typeof address === 'object' && address ? address.port : 0)
    return relay
  }

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** Ends every connection, as a proxy that crashes does. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.#server.close()
    this.cut()
  }

  #join(client: Socket, socketPath: string): void {
    const upstream = createConnection({ path: socketPath, allowHalfOpen: true })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(one)
      one.pipe(other)
      one.once('error', () => other.destroy())
      one.once('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
    }
  }
}

/** Lines of JSON, read to the end. */
export function eventsOf(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.trim())
    .map((line) => JSON.parse(line))
}

/** Takes a queued deployment live as a build worker would. */
export async function finishDeployment(sql: Sql, config: Config, id: string): Promise<Deployment> {
  await prepareDeployment(sql, id)
  const live = await goLive(sql, id, { config, by: 'test-worker' })
  if (!live) throw new Error(`deployment ${id} did not go live`)
  return live
}

/** Takes a queued deployment to where it only has to be brought out. */
export async function prepareDeployment(sql: Sql, id: string): Promise<void> {
  const claim = await claimBuild(sql, id, 'test-worker')
  if (!claim) throw new Error(`deployment ${id} cannot be claimed`)
  await moveDeployment(sql, id, { from: 'building', to: 'built', by: 'test-worker' })
  await moveDeployment(sql, id, { from: 'built', to: 'uploading', by: 'test-worker' })
  if (!claim.buildId)
    await recordBuild(sql, claim, {
      id: newId(),
      kind: 'static',
      framework: 'static',
      manifestKey: 'k',
      manifestSha256: 'x',
      publicEnvHash: '',
      bundleSize: 1,
      durationMs: 1,
    })
  await markPrepared(sql, claim)
}

/** Begins the rollout of a queued deployment and opens its first stage, as whoever leads does. */
export async function beginRollout(sql: Sql, config: Config, id: string, percent = 5): Promise<Rollout> {
  await prepareDeployment(sql, id)
  const candidate = await bringOut(sql, id, { config, by: 'test-worker' })
  return sql.begin(async (tx) => {
    const rollout = candidate?.routeId ? await findOpenRollout(tx, candidate.routeId) : null
    if (!rollout) throw new Error(`deployment ${id} has no rollout`)
    await openSegment(tx, rollout, { opens: 'stage', percent, slowMs: 50, tooSlowMs: 75, by: 'platform' })
    return { ...rollout, segment: 0, revision: rollout.revision + 1 }
  })
}

type Wanted = { app: string; version: string; branch: string }

async function deployed(sql: Sql, config: Config, wanted: Wanted): Promise<Deployment> {
  const { id } = await queued(sql, wanted)
  return finishDeployment(sql, config, id)
}

function queued(sql: Sql, { app, version, branch }: Wanted): Promise<Deployment> {
  return createDeployment(sql, {
    app,
    target: targetOfBranch({ id: app, productionBranch: 'main' }, branch),
    version,
    source: 'upload',
    by: 'ada',
  })
}
