import { once } from 'node:events'
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { parseDatabaseUrl, type Sql } from '../../registry/sql.ts'
import { createDatabase } from './database.ts'

/** An empty database of real Postgres that an app's network leads to, when `egressAllow` is among ATELIER_EGRESS_ALLOW. */
export type ReachableDatabase = {
  url: string
  egressAllow: string
  sql: Sql
  [Symbol.asyncDispose](): Promise<void>
}

/** The tests' Postgres listens on a unix socket; this carries it to an address of this machine. */
export async function reachableDatabase(): Promise<ReachableDatabase> {
  const database = await createDatabase({ migrated: false })
  const { host: socketDir, port: socketPort, user, password, database: name } = parseDatabaseUrl(database.url)
  const sockets = new Set<Socket>()
  const server = createServer((inside) => {
    const outside = connectTo(`${socketDir}/.s.PGSQL.${socketPort}`)
    for (const [one, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => other.destroy())
      one.pipe(other)
    }
  })
  const host = ownAddress()
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${name}`,
    egressAllow: `${host}:${port}`,
    sql: database.sql,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await database[Symbol.asyncDispose]()
    },
  }
}

function ownAddress(): string {
  const all = Object.entries(networkInterfaces()).flatMap(([name, found]) =>
    name.startsWith('atl') ? [] : (found ?? []),
  )
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'
}
