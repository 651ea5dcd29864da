import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { AppError } from '../registry/errors.ts'
import { type Listening, listenOnSocket } from '../registry/listen.ts'
import { advertise, sendPack } from './exchange.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { Git } from './git.ts'
import { authorize, readAddress } from './guard.ts'
import { isLfs, refuseLfs } from './lfs.ts'
import { receivePush } from './push.ts'
import { RefLocks } from './ref-lock.ts'
import { RefMover } from './ref-mover.ts'
import { refuse, send } from './refusal.ts'
import { Repositories } from './repositories.ts'
import { TokenWatch } from './token-watch.ts'
import { openBody } from './upload.ts'

const stopWithinMs = 5_000

/** The git smart-HTTP server on `<runDir>/gateway.sock`, and the mover of refs behind it. */
export class Gateway {
  readonly #deps: GatewayDeps
  readonly #stop: AbortController
  readonly #listening: Listening
  readonly #mover: RefMover

  private constructor(deps: GatewayDeps, stop: AbortController, listening: Listening) {
    this.#deps = deps
    this.#stop = stop
    this.#listening = listening
    this.#mover = new RefMover(deps)
  }

  static async start(
    parts: Pick<GatewayDeps, 'sql' | 'store' | 'queue' | 'config' | 'log' | 'identify'>,
  ): Promise<Gateway> {
    const { config, log } = parts
    const stop = new AbortController()
    const git = new Git({ maxPackBytes: config.pushLimits.packMb * 1_048_576 })
    await git.check()
    const repositories = new Repositories(config.home, git)
    for (const path of await repositories.tidy()) log.warn({ path }, 'left-over of a killed git removed')

    const deps = { ...parts, git, repositories, locks: new RefLocks(), stopping: stop.signal }
    const listening = await listenOnSocket(
      join(config.runDir, 'gateway.sock'),
      (request, response) => void answer(request, response, deps),
      { alsoOn: config.gatewayListen },
    )
    guardSockets(listening.server, config.pushLimits.idleTimeoutMs)
    return new Gateway(deps, stop, listening)
  }

  /** Stops accepting, tells those who wait for a build how to go on watching it, and ends what is still running after five seconds. */
  async close(): Promise<void> {
    this.#stop.abort()
    const timer = setTimeout(() => this.#listening.server.closeAllConnections(), stopWithinMs)
    await this.#listening.close()
    clearTimeout(timer)
    await this.#mover.close()
    await this.#deps.git.close()
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, deps: GatewayDeps): Promise<void> {
  response.on('error', (error) => deps.log.debug({ err: error }, 'response broken off'))
  request.on('error', (error) => deps.log.debug({ err: error }, 'request broken off'))
  try {
    await route(request, response, deps)
  } catch (thrown) {
    await refuse(request, response, thrown, deps)
  }
}

async function route(request: IncomingMessage, response: ServerResponse, deps: GatewayDeps): Promise<void> {
  const { method, url = '' } = request
  if (method === 'GET' && url === '/health') {
    return send(response, 200, { type: 'application/json', body: '{"ok":true}' })
  }

  if (isLfs(url)) return refuseLfs(response)
  const address = readAddress(url)
  const access = await authorize(request, address, deps)
  if (method !== (address.discovery ? 'GET' : 'POST')) {
    throw new AppError('REQUEST_INVALID', `${method} is no method of git here`)
  }
  if (address.discovery) return advertise(request, response, { address, access }, deps)
  const body = openBody(request)
  using token = new TokenWatch(request, address, deps)
  const { ended } = token
  if (address.service === 'git-upload-pack') await sendPack(request, response, { access, body, ended }, deps)
  else await receivePush({ slug: address.app, access, request, body, response, ended }, deps)
}

// Long pushes and long builds are this server's daily bread: only a connection on which nothing moves is cut. While a build is silent,
// git sends an empty packet every five seconds.
function guardSockets(server: Server, idleTimeoutMs: number): void {
  server.setTimeout(idleTimeoutMs)
  server.on('connection', (socket) => socket.on('error', () => socket.destroy()))
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  })
}
