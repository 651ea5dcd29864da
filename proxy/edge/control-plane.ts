import { Agent, type ClientRequestArgs, type IncomingMessage, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { createProxyServer } from 'httpxy'
import type { Config } from '../../registry/config.ts'
import { codeOf, messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import { toHeaderObject } from './app/header-pairs.ts'
import { type Forwarding, forwardHeaders } from './app/request-headers.ts'
import { rawHead, readResponseHead } from './app/response-head.ts'
import { controlPlaneDown, controlPlaneLost, invalidResponse, type Notice, writeNotice } from './pages.ts'
import type { ReservedName } from './route-table.ts'

/** Where each part listens, and what people call it. */
const parts: Record<ReservedName, { role: 'gateway' | 'registry'; title: string }> = {
  git: { role: 'gateway', title: 'git gateway' },
  api: { role: 'registry', title: 'API' },
  console: { role: 'registry', title: 'console' },
}
/** Where a part of the platform listens: on this machine or another. */
export type PartAddress = { socketPath: string } | { host: string; port: number }

// Pushes and builds are long and may be silent for minutes; only a connection on which nothing moves at all is given up.
const idleTimeoutMs = 15 * 60_000
const connectTimeoutMs = 5_000
const keepAliveMs = 10_000

// A connection of its own for each request, so that none can be stale. It is announced as one to be kept all the same: a part that refuses a
// request before it has read its body closes any other at once, and its answer is lost with the unread bytes (one in a hundred).
class OneRequestAgent extends Agent {
  // Node's agent asks this of each connection whose request is over.
  override keepSocketAlive(): boolean {
    return false
  }

  // A machine that is off answers nothing at all, and TCP would ask it for two minutes.
  override createConnection(
    options: ClientRequestArgs,
    callback?: (err: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const socket = super.createConnection(options, callback)
    if (socket instanceof Socket && socket.connecting) {
      const late = () => socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' }))
      const timer = setTimeout(late, connectTimeoutMs)
      socket.once('connect', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
      socket.setKeepAlive(true, keepAliveMs)
    }
    return socket
  }
}

type Where = Pick<Config, 'runDir' | 'gatewayUrl' | 'registryUrl'>

function addressOf(url: string | null): PartAddress | null {
  if (url === null) return null
  const { hostname, port } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
}

/**
 * The platform's own parts on the reserved hosts, fronted by httpxy over their unix sockets, or TCP when they are on another machine: bodies of any size, answers that take as long
 * as they take. Connections are not kept: a new one costs nothing next to these requests, and none can be stale.
 */
export class ControlPlane {
  readonly #addresses: Record<'gateway' | 'registry', PartAddress>
  readonly #log: Log
  readonly #agent = new OneRequestAgent({ keepAlive: true })
  readonly #proxy = createProxyServer({ proxyTimeout: idleTimeoutMs })

  constructor({ runDir, gatewayUrl, registryUrl }: Where, { log }: { log: Log }) {
    this.#addresses = {
      gateway: addressOf(gatewayUrl) ?? { socketPath: join(runDir, 'gateway.sock') },
      registry: addressOf(registryUrl) ?? { socketPath: join(runDir, 'registry.sock') },
    }
    this.#log = log
    this.#proxy.on('proxyRes', checkResponse)
  }

  address(name: ReservedName): PartAddress {
    return this.#addresses[parts[name].role]
  }

  /** Passes a request on and resolves when it is over. `target` is path and query. */
  async serve(
    name: ReservedName,
    request: IncomingMessage,
    response: ServerResponse,
    { target, forwarding }: { target: string; forwarding: Forwarding },
  ): Promise<void> {
    request.headers = { ...toHeaderObject(forwardHeaders(request, forwarding)), ...framingOf(request) }
    request.url = target
    try {
      await this.#proxy.web(request, response, { target: this.address(name), agent: this.#agent })
    } catch (thrown) {
      this.#log.debug({ host: forwarding.host, err: thrown }, 'control plane request failed')
      if (response.headersSent) response.destroy()
      else writeNotice(request, response, noticeFor(thrown, parts[name].title))
    }
  }
}

const onThisMachine = ['ENOENT', 'ECONNREFUSED', 'EACCES', 'EAGAIN']
const onAnother = ['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN']
const awayCodes = [...onThisMachine, ...onAnother]

/** What to say when a part of the platform did not answer. */
export function noticeFor(thrown: unknown, title: string): Notice {
  if (awayCodes.includes(codeOf(thrown) ?? '')) return controlPlaneDown(title)
  if ((codeOf(thrown) ?? '').startsWith('HPE_')) return invalidResponse(`The ${title}`, messageOf(thrown))
  return controlPlaneLost(title)
}

// httpxy copies what is here to the response as it is, so nothing unchecked may be left in it.
function checkResponse(upstream: IncomingMessage, request: IncomingMessage, response: ServerResponse): void {
  const head = readResponseHead(rawHead(upstream), { cookieSuffix: '' })
  if ('invalid' in head) {
    writeNotice(request, response, invalidResponse('The platform', head.invalid))
    upstream.destroy()
    return
  }
  // Said here, for httpxy would say keep-alive, and Node then does so whatever the client wanted.
  const connection = response.shouldKeepAlive ? 'keep-alive' : 'close'
  upstream.headers = { ...toHeaderObject(head.headers), connection }
  // A stream that starts with silence still shows that it has started.
  setImmediate(() => {
    if (!response.writableEnded && !response.destroyed) response.flushHeaders()
  })
}

function framingOf(request: IncomingMessage): Record<string, string> {
  if (request.headers['transfer-encoding'] !== undefined) return { 'transfer-encoding': 'chunked' }
  const length = request.headers['content-length']
  return length === undefined ? {} : { 'content-length': length }
}
