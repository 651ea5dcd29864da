import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

export type VisitorsOptions = {
  /** The proxies; every visitor comes to any of them. */
  ports: number[]
  host: string
  perSecond: number
  path?: string
  /** So many come again and again and keep their cookies; 0: everybody comes once. */
  regulars?: number
  /** Whoever waits for longer leaves. */
  patienceMs?: number
}

/**
 * One answer, or why there was none. `at`: when it was there, ms since 1970. `deployment`: what `x-atelier-deployment` says of it. `regular`: who of them
 * asked, by a cookie; null: nobody who is known.
 */
export type Visit = {
  at: number
  port: number
  deployment: string
  regular: number | null
  status: number | 'left' | 'broken'
}

/** Of one deployment at one proxy. */
export type Tally = { answers: number; bad: number; left: number; statuses: Record<string, number> }

type Visitor = { number: number; cookies: Map<string, string> }

// More than wait at once are not let in: a server that hangs is not asked ever more.
const mostWaiting = 500
// Of one proxy: an edge process lets one address have 500.
const connectionsEach = 24

/**
 * People who visit an app at a constant rate, whatever it answers, with or without the cookies they are given. Every answer is counted by proxy, deployment
 * and status. Bad is a 5xx, and a connection that is refused or broken; whoever leaves is counted apart.
 */
export class Visitors {
  /** Every bad one, in order, and every one that was given up. */
  readonly bad: Visit[] = []
  /** Due, and not sent because too many waited. */
  turnedAway = 0
  readonly #options: Required<VisitorsOptions>
  readonly #tallies = new Map<string, Tally & { port: number; deployment: string }>()
  readonly #onVisit: ((visit: Visit) => void)[] = []
  readonly #regulars: Visitor[]
  readonly #agents: Map<number, Agent>
  readonly #stopping = new AbortController()
  readonly #waiting = new Set<Promise<void>>()
  readonly #running: Promise<void>

  constructor({ path = '/', regulars = 0, patienceMs = 30_000, ...options }: VisitorsOptions) {
    this.#options = { ...options, path, regulars, patienceMs }
    this.#regulars = Array.from({ length: regulars }, (_, number) => ({ number, cookies: new Map() }))
    this.#agents = new Map(
      options.ports.map((port) => [port, new Agent({ keepAlive: true, maxSockets: connectionsEach })]),
    )
    this.#running = this.#visit()
  }

  get tallies(): readonly (Tally & { port: number; deployment: string })[] {
    return [...this.#tallies.values()]
  }

  /** Of all proxies together, of one deployment or of all. `deployment`: the whole version or its beginning. */
  count(deployment = ''): Tally {
    const these = this.tallies.filter((tally) => isSame(tally.deployment, deployment))
    const sum = (of: (tally: Tally) => number) => these.reduce((total, tally) => total + of(tally), 0)
    const names = new Set(these.flatMap(({ statuses }) => Object.keys(statuses)))
    const statuses = Object.fromEntries([...names].map((name) => [name, sum(({ statuses }) => statuses[name] ?? 0)]))
    return {
      answers: sum(({ answers }) => answers),
      bad: sum(({ bad }) => bad),
      left: sum(({ left }) => left),
      statuses,
    }
  }

  /** Is told of every answer. */
  onVisit(listener: (visit: Visit) => void): void {
    this.#onVisit.push(listener)
  }

  /** Lets nobody in any more and resolves when all have been answered, or have left. */
  async stop(): Promise<this> {
    this.#stopping.abort()
    await this.#running
    await Promise.all(this.#waiting)
    for (const agent of this.#agents.values()) agent.destroy()
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #visit(): Promise<void> {
    const { perSecond, ports } = this.#options
    const startedAt = performance.now()
    for (let sent = 0; !this.#stopping.signal.aborted; ) {
      const early = startedAt + (1000 * sent) / perSecond - performance.now()
      if (early > 0) {
        await pause(early)
        continue
      }
      const visitor = this.#regulars[sent % this.#regulars.length] ?? { number: -1, cookies: new Map() }
      // Not in step with the regulars, who would each come to one proxy for ever.
      const port = ports[Math.floor(Math.random() * ports.length)] ?? 0
      sent++
      if (this.#waiting.size >= mostWaiting) this.turnedAway++
      else {
        const asking = this.#ask(port, visitor).finally(() => this.#waiting.delete(asking))
        this.#waiting.add(asking)
      }
    }
  }

  #ask(port: number, visitor: Visitor, isAgain = false): Promise<void> {
    const { host, path, patienceMs } = this.#options
    const cookie = [...visitor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { host: `${host}:${port}`, accept: 'text/html', ...(cookie && { cookie }) }
    return new Promise((resolve) => {
      let isOver = false
      let isAnswered = false
      let deployment = ''
      const end = (status: Visit['status']) => {
        if (isOver) return
        isOver = true
        clearTimeout(timer)
        this.#note({ at: Date.now(), port, deployment, regular: cookie ? visitor.number : null, status })
        resolve()
      }
      const asked = request({ host: '127.0.0.1', port, path, agent: this.#agents.get(port), headers })
      const timer = setTimeout(() => {
        end('left')
        asked.destroy()
      }, patienceMs)
      asked.on('error', () => {
        // The server closed a connection that was idle just when it was to be used: browsers ask again.
        if (isOver || isAgain || isAnswered || !asked.reusedSocket) return end('broken')
        isOver = true
        clearTimeout(timer)
        resolve(this.#ask(port, visitor, true))
      })
      asked.on('response', (response) => {
        isAnswered = true
        deployment = String(response.headers['x-atelier-deployment'] ?? '')
        keepCookies(visitor, response)
        response.on('error', () => end('broken'))
        response.on('end', () => end(response.statusCode ?? 0))
        response.resume()
      })
      asked.end()
    })
  }

  #note(visit: Visit): void {
    const key = `${visit.port} ${visit.deployment}`
    const tally = this.#tallies.get(key) ?? { ...visit, answers: 0, bad: 0, left: 0, statuses: {} }
    this.#tallies.set(key, tally)
    const isBad = visit.status === 'broken' || (typeof visit.status === 'number' && visit.status >= 500)
    tally.answers++
    if (isBad) tally.bad++
    if (visit.status === 'left') tally.left++
    tally.statuses[visit.status] = (tally.statuses[visit.status] ?? 0) + 1
    if (isBad) this.bad.push(visit)
    for (const listener of this.#onVisit) listener(visit)
  }
}

function isSame(shown: string, version: string): boolean {
  return version === '' || (shown !== '' && (version.startsWith(shown) || shown.startsWith(version)))
}

function keepCookies({ cookies }: Visitor, { headers }: IncomingMessage): void {
  for (const line of headers['set-cookie'] ?? []) {
    const [pair = ''] = line.split(';')
    const at = pair.indexOf('=')
    if (at > 0) cookies.set(pair.slice(0, at).trim(), pair.slice(at + 1).trim())
  }
}
