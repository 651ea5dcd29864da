import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Failure, usage } from '../failure.ts'
import { AppDoor, wantsPage } from './app-door.ts'
import { eventsPath, problemPage, reloadScript, scriptPath, startingPage } from './dev-pages.ts'

/** What browsers are told: `version` goes up with every build that is live. */
export type Shown = { version: number; problem: string | null }

const usualPort = 3000
const portsTried = 50

/**
 * The local address of an app under development: what is asked goes to the app as it is live on the platform beneath; pages learn of the next version, and of
 * a build that failed, and everybody else by the header `x-atelier-dev`.
 */
export class DevFront implements AsyncDisposable {
  readonly url: string
  readonly #server: Server
  readonly #listeners = new Set<ServerResponse>()
  #app: AppDoor | null = null
  #shown: Shown = { version: 0, problem: null }

  /** Listens on this machine only. Throws a Failure when the port is taken. */
  static async open(wanted: number | null): Promise<DevFront> {
    const server = createServer()
    for (let port = wanted ?? usualPort; ; port++) {
      const problem = await listen(server, port)
      if (!problem) return new DevFront(server, port)
      const isTaken = problem.code === 'EADDRINUSE'
      if (wanted !== null && isTaken)
        throw new Failure(`port ${port} is taken; choose another: atelier dev --port ${port + 1}`, {
          code: 'PORT_IN_USE',
        })
      if (wanted !== null) throw usage(`port ${port} cannot be used (${problem.code}); choose another`)
      if (!isTaken || port >= usualPort + portsTried)
        throw new Failure(`no port from ${usualPort} to ${port} is free; say one: --port <port>`, {
          code: 'PORT_IN_USE',
        })
    }
  }

  private constructor(server: Server, port: number) {
    this.url = `http://localhost:${port}`
    this.#server = server
    server.on('request', (request, response) => this.#answer(request, response))
    server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy())
      if (this.#app && this.hasShown) this.#app.upgrade(request, socket, head)
      else socket.destroy()
    })
  }

  /** Whether a version has been served. */
  get hasShown(): boolean {
    return this.#shown.version > 0
  }

  /** Where the app is. */
  leadTo(address: string): void {
    this.#app = new AppDoor(address, this.url)
  }

  /** A build has ended: it is live, or why it is not. */
  show({ isNew, problem }: { isNew: boolean; problem: string | null }): void {
    this.#shown = { version: this.#shown.version + (isNew ? 1 : 0), problem }
    for (const response of this.#listeners) this.#tell(response)
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    const closed = new Promise((settle) => this.#server.close(settle))
    this.#server.closeAllConnections()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    response.on('error', () => response.destroy())
    const { problem, version } = this.#shown
    if (request.url === eventsPath) this.#listen(response)
    else if (request.url === scriptPath) send(response, 200, reloadScript, 'text/javascript; charset=utf-8')
    else if (version === 0 || !this.#app) this.#sayNotYet(response, wantsPage(request), problem)
    else {
      if (problem) response.setHeader('x-atelier-dev', 'the last build failed; this is the one before')
      this.#app.carry(request, response)
    }
  }

  #sayNotYet(response: ServerResponse, isPage: boolean, problem: string | null): void {
    const status = problem === null ? 503 : 500
    const said = problem ?? 'the first build is under way'
    response.setHeader('x-atelier-dev', problem === null ? said : 'the build failed')
    if (isPage)
      send(response, status, problem === null ? startingPage : problemPage(problem), 'text/html; charset=utf-8')
    else
      send(
        response,
        status,
        `${said}
`,
        'text/plain; charset=utf-8',
      )
  }

  #listen(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    this.#listeners.add(response)
    response.once('close', () => this.#listeners.delete(response))
    this.#tell(response)
  }

  #tell(response: ServerResponse): void {
    response.write(`data: ${JSON.stringify(this.#shown)}\n\n`)
  }
}

function send(response: ServerResponse, status: number, text: string, type: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text)
}

function listen(server: Server, port: number): Promise<NodeJS.ErrnoException | null> {
  return new Promise((settle) => {
    const onError = (error: NodeJS.ErrnoException) => settle(error)
    server.once('error', onError)
    server.listen(port, 'localhost', () => {
      server.off('error', onError)
      settle(null)
    })
  })
}
