// The host's end of the lanes: connections of the edge that travel side by side on one socket are given to the app's own HTTP server, as
// if it had accepted them. docs/lanes.md. Node builtins only.
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { LaneSocket } from './isolate-lane.ts'
import {
  FrameReader,
  FrameWriter,
  frameLimits,
  frameType,
  ProtocolError,
  preface,
  readWindow,
} from './isolate-messages.ts'

/** Whether nobody but Node itself sees the connections of this server: whoever does may want more of them than a lane has. */
export function mayHaveLanes(server: Server): boolean {
  return server.listenerCount('connection') === 1
}

/** A server for the lanes' own listening socket, to be called when `server` has been taken. It keeps nothing alive. */
export function lanesTo(server: HttpServer): Server {
  const listeners = server.listenerCount('connection')
  const takesMore = () => server.listening && server.listenerCount('connection') === listeners
  const edges = new Set<Edge>()
  const lanes = createServer((socket) => {
    const edge = new Edge(socket, server, takesMore)
    edges.add(edge)
    socket.on('close', () => edges.delete(edge))
  })
  // What an app has answered before process.exit() has been sent, on a socket of its own.
  process.on('exit', () => {
    for (const edge of edges) edge.frames.flush()
  })
  return lanes.unref()
}

// An answer waits so long at most for others to be written with it: the app may keep the thread busy when it has answered.
const promptMs = 0.3

/** One edge process, and its lanes. */
class Edge {
  readonly frames: FrameWriter
  readonly #socket: Socket
  readonly #server: HttpServer
  readonly #takesMore: () => boolean
  /** By place: what is left of a lane's number. */
  readonly #lanes: (LaneSocket | null)[] = []
  readonly #reader = new FrameReader((type, number, _, payload) => this.#take(type, number, payload))
  #open = 0
  #writtenAt = 0

  constructor(socket: Socket, server: HttpServer, takesMore: () => boolean) {
    this.#socket = socket.unref()
    this.#server = server
    this.#takesMore = takesMore
    this.frames = new FrameWriter((bytes) => void socket.write(bytes))
    socket.write(preface)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      for (const lane of this.#lanes) lane?.cut()
    })
  }

  #receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk)
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown
      this.#socket.destroy()
    }
  }

  // What the app throws is the app's, as on a socket of its own; the frames behind it are for others.
  #take(type: number, number: number, payload: Buffer): void {
    try {
      this.#pass(type, number, payload)
    } catch (thrown) {
      if (thrown instanceof ProtocolError) throw thrown
      process.nextTick(() => {
        throw thrown
      })
    }
  }

  #pass(type: number, number: number, payload: Buffer): void {
    // What crossed the end of its lane on the way belongs to nobody.
    const place = this.#lanes[number % frameLimits.streams]
    const lane = place?.number === number ? place : null
    if (type === frameType.data) lane?.receive(payload)
    else if (type === frameType.window) lane?.grant(readWindow(payload))
    else if (type === frameType.reset) lane?.cut()
    else if (type === frameType.request) this.#accept(number)
    else throw new ProtocolError(`a frame of type ${type} from an edge`)
  }

  #accept(number: number): void {
    const place = number % frameLimits.streams
    // The edge gives a place again when it has closed the lane that had it.
    this.#lanes[place]?.cut()
    if (!this.#takesMore()) {
      this.frames.reset(number, 'no more lanes')
      return
    }
    const lane = new LaneSocket(number, {
      frames: this.frames,
      onSaid: () => this.#said(),
      onGone: (gone) => this.#forget(gone),
    })
    this.#lanes[place] = lane
    if (++this.#open === 1) this.#socket.ref()
    this.frames.bare(frameType.response, number)
    count(lane, this.#server)
    this.#server.emit('connection', lane)
  }

  #forget({ number }: LaneSocket): void {
    const place = number % frameLimits.streams
    if (this.#lanes[place]?.number === number) this.#lanes[place] = null
    if (--this.#open === 0) this.#socket.unref()
  }

  // Together with what else is said in this turn of the event loop, when there was something just now.
  #said(): void {
    const now = performance.now()
    if (now - this.#writtenAt < promptMs) return
    this.#writtenAt = now
    this.frames.flush()
  }
}

// As node:net counts one that it has accepted: who waits for server.close() waits for it, too. It counts down itself when the socket is closed.
function count(lane: LaneSocket, server: HttpServer): void {
  Object.assign(lane, { server, _server: server })
  Object.assign(server, { _connections: Number(Reflect.get(server, '_connections')) + 1 })
}
