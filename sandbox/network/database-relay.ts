import { connect as connectTo, isIP, type Server, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import {
  type FirstPacket,
  refused,
  SessionKeyReader,
  splitFirstPacket,
  writeCancel,
  writeError,
  writeStartup,
} from './startup-packet.ts'

/** Where a Postgres listens: a host name or address, or the folder of its unix socket. */
export type DatabaseServer = { host: string; port: number; ssl: boolean }

/** The one database of a server that an app may reach; `name` is the database's and its role's. */
export type DatabaseAccess = { server: DatabaseServer; name: string; password: string }

export type RelayLimits = {
  /** Connections to one database of this process; those that it may have whatever others have, and how many all may have beyond that. */
  connections: number
  ownConnections: number
  allConnections: number
  /** Until the startup packet is whole, and until who was refused hangs up; until the server has let the session in. */
  startupMs: number
  signInMs: number
  /** How long a client may read nothing of what it is sent. */
  unreadMs: number
}

/** The role's own limit is counted after the password only, and what waits before it takes a place on the server as well. */
export const relayLimits: RelayLimits = {
  connections: 25,
  ownConnections: 6,
  allConnections: 100,
  startupMs: 10_000,
  signInMs: 10_000,
  unreadMs: 90_000,
}

const open = new Map<string, number>()

/**
 * Carries connections of an app to its database and to no other: the startup packet must name that database and its role, and is written anew; the
 * password is the server's business, and passes through as SCRAM. Replication is refused, encryption declined (the line does not leave this machine's
 * memory), and a cancel request goes on only when it is for a session of this relay. A server that is away is said in Postgres' own words,
 * so drivers connect again when it is back.
 */
export class DatabaseRelay {
  readonly #server: Server
  readonly #access: DatabaseAccess
  readonly #limits: RelayLimits
  readonly #sockets = new Set<Socket>()
  readonly #keys = new Set<string>()

  /** `server` listens where the app finds it; it is closed with the relay. */
  constructor(server: Server, access: DatabaseAccess, limits: RelayLimits = relayLimits) {
    this.#server = server
    this.#access = access
    this.#limits = limits
    // What is not admitted takes a descriptor of this process as long as it is answered, and an app can open as many as it likes.
    server.maxConnections = 4 * limits.connections
    server.on('connection', (socket: Socket) => this.#take(socket))
    server.on('error', () => undefined)
  }

  /** Cuts what is open. */
  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #take(client: Socket): void {
    this.#keep(client)
    const release = this.#admit()
    client.once('close', () => release?.())
    const slow = setTimeout(() => client.destroy(), this.#limits.startupMs)
    client.once('close', () => clearTimeout(slow))
    let waiting: Buffer = Buffer.alloc(0)
    let asked = 0
    const hear = (chunk: Buffer) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      for (;;) {
        const first = splitFirstPacket(waiting)
        if (!first) return
        waiting = waiting.subarray(first.size)
        if (first.packet.kind === 'encryption' && ++asked <= 2) {
          client.write('N')
          continue
        }
        client.off('data', hear).pause()
        clearTimeout(slow)
        if (release) this.#begin(client, first.packet, waiting)
        else
          this.#refuse(
            client,
            '53300',
            `too many connections; ${this.#limits.connections} to this database are the most`,
          )
        return
      }
    }
    client.on('data', hear)
  }

  #begin(client: Socket, packet: FirstPacket, more: Buffer): void {
    if (packet.kind === 'cancel') {
      this.#cancel(client, packet.id)
      return
    }
    const asked = this.#judge(packet)
    if (asked.kind === 'refused') {
      this.#refuse(client, asked.code, asked.reason)
      return
    }
    const { name } = this.#access
    const { protocol, parameters } = asked
    const startup = writeStartup(protocol, new Map([...parameters, ['user', name], ['database', name]]))
    this.#dial(client, (server) => {
      server.write(Buffer.concat([startup, more]))
      this.#join(client, server)
    })
  }

  #judge(packet: Exclude<FirstPacket, { kind: 'cancel' }>): Exclude<FirstPacket, { kind: 'cancel' | 'encryption' }> {
    if (packet.kind === 'refused') return packet
    if (packet.kind === 'encryption') return refused('08P01', 'that was declined already')
    const { name } = this.#access
    const user = packet.parameters.get('user')
    if (user !== name) return refused('28000', 'this app has a role of its own; connect with DATABASE_URL')
    if ((packet.parameters.get('database') ?? name) !== name)
      return refused('28000', 'this app has a database of its own; connect with DATABASE_URL')
    if (packet.parameters.has('replication')) return refused('28000', 'replication is not for apps')
    return packet
  }

  #join(client: Socket, server: Socket): void {
    const reader = new SessionKeyReader()
    const late = setTimeout(() => client.destroy(), this.#limits.signInMs)
    const watch = (chunk: Buffer) => {
      const goesOn = reader.push(chunk)
      if (reader.key !== null) this.#keys.add(reader.key)
      if (goesOn) return
      server.off('data', watch)
      clearTimeout(late)
    }
    server.on('data', watch)
    server.once('close', () => {
      clearTimeout(late)
      if (reader.key !== null) this.#keys.delete(reader.key)
    })
    client.pipe(server)
    server.pipe(client)
    this.#cutUnread(client, server)
  }

  // What writes to a client that does not read hears nothing of the rest of the server, which waits for it when a database is dropped.
  #cutUnread(client: Socket, server: Socket): void {
    let unread: NodeJS.Timeout | undefined
    server.on('data', () => {
      if (client.writableNeedDrain) unread ??= setTimeout(() => client.destroy(), this.#limits.unreadMs)
    })
    const isRead = () => {
      clearTimeout(unread)
      unread = undefined
    }
    client.on('drain', isRead).once('close', isRead)
  }

  #cancel(client: Socket, id: string): void {
    if (!this.#keys.has(id)) return void client.destroy()
    this.#dial(client, (server) => server.end(writeCancel(id)).resume())
  }

  #dial(client: Socket, begin: (server: Socket) => void): void {
    const dialling = dial(this.#access.server)
    this.#keep(dialling.socket)
    client.once('close', () => dialling.socket.destroy())
    dialling.connected.then(
      (server) => {
        if (server !== dialling.socket) this.#keep(server)
        client.once('close', () => server.destroy())
        server.once('close', () => client.destroySoon())
        if (client.destroyed) return void server.destroy()
        begin(server)
      },
      () => this.#refuse(client, '57P03', 'the database server cannot be reached just now'),
    )
  }

  #refuse(client: Socket, code: string, message: string): void {
    if (client.destroyed) return
    // Not read on: what it still sends is nobody's, and the answer must not be lost to a reset.
    client.resume().end(writeError(code, message))
    const late = setTimeout(() => client.destroy(), this.#limits.startupMs)
    client.once('close', () => clearTimeout(late))
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    // What broke is closed, and whoever is at the other end is told by that.
    socket.on('error', () => socket.destroy())
    socket.once('close', () => this.#sockets.delete(socket))
  }

  // Null: there are as many as there may be. Places are taken before the password, so those of one app must not be another's.
  #admit(): (() => void) | null {
    const { name } = this.#access
    const mine = open.get(name) ?? 0
    const all = open.values().reduce((sum, count) => sum + count, 0)
    const { connections, ownConnections, allConnections } = this.#limits
    if (mine >= connections || (mine >= ownConnections && all >= allConnections)) return null
    open.set(name, mine + 1)
    return () => {
      const left = (open.get(name) ?? 1) - 1
      if (left > 0) open.set(name, left)
      else open.delete(name)
    }
  }
}

const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
const dialMs = 5_000

// As the platform's own driver does it: with TLS where the address asks for it, whoever the certificate is of.
function dial({ host, port, ssl }: DatabaseServer): { socket: Socket; connected: Promise<Socket> } {
  const socket = host.startsWith('/') ? connectTo(`${host}/.s.PGSQL.${port}`) : connectTo(port, host)
  socket.setKeepAlive(true, 10_000).setNoDelay(true)
  const { promise: connected, resolve, reject } = Promise.withResolvers<Socket>()
  const late = setTimeout(() => socket.destroy(), dialMs)
  connected.finally(() => clearTimeout(late)).catch(() => undefined)
  socket.once('close', () => reject(new Error('the database server cannot be reached')))
  socket.once('connect', () => {
    if (!ssl) return resolve(socket)
    socket.write(sslRequest)
    socket.once('data', (answer: Buffer) => {
      if (answer.toString('latin1') !== 'S') return void socket.destroy()
      const servername = isIP(host) ? undefined : host
      const secured = connectTls({ socket, rejectUnauthorized: false, ...(servername && { servername }) })
      secured.once('error', () => socket.destroy())
      secured.once('secureConnect', () => resolve(secured))
    })
  })
  return { socket, connected }
}
