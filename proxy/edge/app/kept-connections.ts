import { HttpConnection, type HttpConnectionDeps } from './http-connection.ts'
import type { Wire, WireListener } from './http-wire.ts'

export type KeptConnectionsDeps = Pick<HttpConnectionDeps, 'limits'> & {
  /** One can take a request. True: it has got one. */
  onFree: (connection: HttpConnection) => boolean
  onClosed: () => void
  /** More of them that are free are closed. */
  maxFree: number
}

/** Connections of one kind to an app, and those of them that are free. */
export class KeptConnections {
  readonly #open: (listener: WireListener) => Wire
  readonly #deps: KeptConnectionsDeps
  readonly #all = new Set<HttpConnection>()
  /** The one used last is used first, so that those nobody needs grow old. */
  readonly #free: HttpConnection[] = []

  constructor(open: (listener: WireListener) => Wire, deps: KeptConnectionsDeps) {
    this.#open = open
    this.#deps = deps
  }

  get size(): number {
    return this.#all.size
  }

  get busy(): number {
    return this.#all.size - this.#free.length
  }

  takeFree(): HttpConnection | null {
    for (let connection = this.#free.pop(); connection; connection = this.#free.pop()) {
      if (connection.isUsable) return connection
      connection.destroy()
    }
    return null
  }

  /** A new one, on its way. */
  connect(): HttpConnection {
    const connection = new HttpConnection(this.#open, {
      limits: this.#deps.limits,
      onFree: (free) => this.#reuse(free),
      onClosed: (closed) => this.#forget(closed),
    })
    this.#all.add(connection)
    return connection
  }

  look(now: number): void {
    for (const connection of this.#all) connection.look(now)
  }

  close(): void {
    for (const connection of this.#all) connection.close()
  }

  #reuse(connection: HttpConnection): void {
    if (this.#deps.onFree(connection)) return
    if (this.#free.length < this.#deps.maxFree) this.#free.push(connection)
    else connection.destroy()
  }

  #forget(connection: HttpConnection): void {
    this.#all.delete(connection)
    const at = this.#free.indexOf(connection)
    if (at !== -1) this.#free.splice(at, 1)
    this.#deps.onClosed()
  }
}
