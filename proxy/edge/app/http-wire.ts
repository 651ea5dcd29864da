import { connect, type Socket } from 'node:net'
import type { LaneListener } from '../../../sandbox/isolate/lane-client.ts'

/** What carries the bytes of a connection to an app: a socket of its own, or a lane on one that many share (docs/lanes.md). */
export interface Wire {
  /** It can be written to. */
  readonly isUsable: boolean
  /** Text is Latin-1. False: the next is to wait for `drained`. */
  write(bytes: string | Buffer): boolean
  /** What is written until `uncork` goes out in one piece. */
  cork(): void
  uncork(): void
  pause(): void
  resume(): void
  destroy(): void
}

/** Who has a wire. Nothing is called from within its methods, and nothing after `closed`. */
export interface WireListener extends LaneListener {
  drained(): void
}

// For all connections: what is read is used, or copied, before the next read.
const readBuffer = Buffer.allocUnsafeSlow(65_536)

/** A socket of its own. */
export class SocketWire implements Wire {
  readonly #socket: Socket

  constructor(path: string, listener: WireListener) {
    const callback = (bytes: number) => {
      listener.received(readBuffer.subarray(0, bytes))
      return true
    }
    this.#socket = connect({ path, onread: { buffer: readBuffer, callback } })
    let failure: Error | null = null
    this.#socket.on('connect', () => listener.connected())
    this.#socket.on('drain', () => listener.drained())
    this.#socket.on('end', () => listener.finished())
    this.#socket.on('error', (error) => {
      failure = error
    })
    this.#socket.on('close', () => listener.closed(failure))
  }

  get isUsable(): boolean {
    return !this.#socket.destroyed && this.#socket.writable
  }

  write(bytes: string | Buffer): boolean {
    return typeof bytes === 'string' ? this.#socket.write(bytes, 'latin1') : this.#socket.write(bytes)
  }

  cork(): void {
    this.#socket.cork()
  }

  uncork(): void {
    this.#socket.uncork()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}
