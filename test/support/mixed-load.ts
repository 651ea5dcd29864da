import { once } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { messageOf } from '../../registry/errors.ts'

export type MixedLoadSize = { requestsPerSecond: number; sockets: number; streams: number; uploads: number }

/** F10 of the reliability table. */
const usual: MixedLoadSize = { requestsPerSecond: 500, sockets: 50, streams: 20, uploads: 10 }

const uploadMs = 1000
const pieceEveryMs = 40
const pieceBytes = 4096
const messageEveryMs = 100
// RFC 6455 §7.4.1 and the IANA registry: going away, and service restart.
const toldCodes = [1001, 1012]

/**
 * Steady load on a `mixedApp`: requests at a constant rate whatever the answers, WebSockets that connect again when they were told to,
 * and streams and slow uploads one after the other. Whatever does not end as it should is a failure.
 */
export class MixedLoad {
  /** One sentence each; the first hundred. */
  readonly failures: string[] = []
  readonly done = { requests: 0, messages: 0, streams: 0, uploads: 0, socketsTold: 0 }
  /** Every `<version of the header> <body>` there was. */
  readonly answers = new Set<string>()
  /** In milliseconds, from when each request was due. */
  latencies: number[] = []
  readonly size: MixedLoadSize
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 128 })
  readonly #target: { port: number; host: string }
  readonly #stopping = new AbortController()
  readonly #running: Promise<unknown>[]

  constructor(target: { port: number; host: string }, size: Partial<MixedLoadSize> = {}) {
    this.#target = target
    this.size = { ...usual, ...size }
    const { requestsPerSecond, sockets, streams, uploads } = this.size
    const loops = (count: number, task: () => Promise<void>) =>
      Array.from({ length: count }, async () => {
        while (!this.#stopping.signal.aborted) await task()
      })
    this.#running = [
      this.#keepAsking(requestsPerSecond),
      ...loops(sockets, () => this.#talk()),
      ...loops(streams, () => this.#readStream()),
      ...loops(uploads, () => this.#upload()),
    ]
  }

  /** Begins nothing new and resolves when all that was under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#running)
    this.#agent.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #keepAsking(perSecond: number): Promise<void> {
    const startedAt = performance.now()
    const asked = new Set<Promise<void>>()
    for (let sent = 0; !this.#stopping.signal.aborted; ) {
      const dueAt = startedAt + (1000 * sent) / perSecond
      const early = dueAt - performance.now()
      if (early > 0) await pause(early)
      else {
        sent++
        const asking = this.#ask(dueAt).finally(() => asked.delete(asking))
        asked.add(asking)
      }
    }
    await Promise.all(asked)
  }

  async #ask(dueAt: number): Promise<void> {
    await this.#exchange('GET /', async () => {
      const response = await this.#send('GET', '/')
      this.answers.add(`${response.headers['x-atelier-deployment']} ${await text(response)}`)
      this.latencies.push(performance.now() - dueAt)
      this.done.requests++
    })
  }

  async #readStream(): Promise<void> {
    await this.#exchange('GET /stream', async () => {
      const body = await text(await this.#send('GET', '/stream'))
      const lines = body.split('\n')
      if (lines.pop() !== `end of ${lines.length}`) throw new Error(`it ended after ${lines.length} lines`)
      this.done.streams++
    })
  }

  async #upload(): Promise<void> {
    await this.#exchange('POST /upload', async () => {
      let sentBytes = 0
      const response = await this.#send('POST', '/upload', async (upload) => {
        const startedAt = performance.now()
        while (performance.now() - startedAt < uploadMs && !upload.destroyed) {
          upload.write(Buffer.alloc(pieceBytes))
          sentBytes += pieceBytes
          await pause(pieceEveryMs)
        }
      })
      const body = await text(response)
      if (body !== String(sentBytes)) throw new Error(`of ${sentBytes} bytes ${body} were read`)
      this.done.uploads++
    })
  }

  async #talk(): Promise<void> {
    await this.#exchange('a WebSocket', async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${this.#target.port}/`, { headers: { host: this.#target.host } })
      socket.on('error', () => undefined) // told by what is awaited below
      socket.on('message', () => this.done.messages++)
      await once(socket, 'open')
      const timer = setInterval(() => socket.send('hello'), messageEveryMs)
      const leave = () => socket.close(1000)
      this.#stopping.signal.addEventListener('abort', leave)
      if (this.#stopping.signal.aborted) leave()
      try {
        const [code]: number[] = await once(socket, 'close')
        if (toldCodes.includes(code ?? 0)) this.done.socketsTold++
        else if (!this.#stopping.signal.aborted) throw new Error(`it was closed with ${code}`)
      } finally {
        clearInterval(timer)
        this.#stopping.signal.removeEventListener('abort', leave)
      }
    })
  }

  // Rejects on any answer that is no 2xx.
  async #send(method: string, path: string, write?: (sent: ClientRequest) => Promise<void>): Promise<IncomingMessage> {
    const { port, host } = this.#target
    const sent = request({ host: '127.0.0.1', port, method, path, agent: this.#agent, headers: { host } })
    const answered: Promise<IncomingMessage[]> = once(sent, 'response')
    const written = write?.(sent)
    if (written) void written.finally(() => sent.end())
    else sent.end()
    const [[response]] = await Promise.all([answered, written])
    if (response?.statusCode === 200) return response
    throw new Error(`${response?.statusCode} ${response ? (await text(response)).slice(0, 200) : ''}`)
  }

  async #exchange(what: string, task: () => Promise<void>): Promise<void> {
    const startedAt = performance.now()
    try {
      await task()
    } catch (thrown) {
      const after = `after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`
      if (this.failures.length < 100) this.failures.push(`${what} ${after}: ${messageOf(thrown)}`)
      await pause(10)
    }
  }
}
