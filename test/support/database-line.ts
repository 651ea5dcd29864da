import { once } from 'node:events'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { parseDatabaseUrl } from '../../registry/sql.ts'

/**
 * The network between one part and its Postgres. While it is cut nothing is refused and nothing arrives, as between two machines that have lost
 * each other; what was on its way arrives when it is mended.
 */
export class DatabaseLine {
  /** As ATELIER_DATABASE_URL takes it, for the part at this end. */
  readonly url: string
  readonly #server: Server
  readonly #socketPath: string
  readonly #sockets = new Set<Socket>()
  #isCut = false

  /** `databaseUrl`: of a Postgres on a unix socket. */
  static async open(databaseUrl: string): Promise<DatabaseLine> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new DatabaseLine(server, databaseUrl)
  }

  private constructor(server: Server, databaseUrl: string) {
    const { host, port, database } = parseDatabaseUrl(databaseUrl)
    const address = server.address()
    const { username, password } = new URL(databaseUrl)
    const here = typeof address === 'object' && address ? address.port : 0
    this.url = `postgres://${username}:${password}@127.0.0.1:${here}/${database}`
    this.#socketPath = join(host, `.s.PGSQL.${port}`)
    this.#server = server
    server.on('connection', (part) => this.#join(part))
  }

  cut(): void {
    this.#isCut = true
    for (const socket of this.#sockets) socket.pause()
  }

  mend(): void {
    this.#isCut = false
    for (const socket of this.#sockets) socket.resume()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  // Without pipe(), which would resume what is paused.
  #join(part: Socket): void {
    const database = createConnection(this.#socketPath)
    const directions: [Socket, Socket][] = [
      [part, database],
      [database, part],
    ]
    for (const [from, to] of directions) {
      this.#sockets.add(from)
      from.on('data', (chunk: Buffer) => to.write(chunk))
      from.on('error', () => to.destroy())
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      if (this.#isCut) from.pause()
    }
  }
}
