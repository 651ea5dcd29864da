import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseDatabaseUrl } from '../registry/sql.ts'

/** A way to a Postgres socket that can be cut (connections refused) or silenced (nothing moves any more), and healed. */
export async function linkTo(databaseUrl: string) {
  const { host, port } = parseDatabaseUrl(databaseUrl)
  const directory = await mkdtemp(join(tmpdir(), 'pg-'))
  const open = new Set<Socket>()
  let state: 'whole' | 'cut' | 'silent' = 'whole'
  let fatal: string | null = null

  const server = createServer((client) => {
    open.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => open.delete(client))
    if (state === 'cut') return client.destroy()
    const upstream = connect(join(host, `.s.PGSQL.${port}`))
    upstream.on('error', () => client.destroy())
    upstream.on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
    client.on('data', (chunk) => {
      if (fatal && chunk.includes(fatal)) cut()
      if (state === 'whole') upstream.write(chunk)
    })
    upstream.on('data', (chunk) => state === 'whole' && client.write(chunk))
  })
  server.listen(join(directory, `.s.PGSQL.${port}`))
  await once(server, 'listening')
  const disconnect = () => {
    for (const socket of open) socket.destroy()
  }

  const wasCut = Promise.withResolvers<void>()
  const cut = () => {
    state = 'cut'
    fatal = null
    disconnect()
    wasCut.resolve()
  }

  const url = new URL(databaseUrl)
  url.searchParams.set('host', directory)
  return {
    url: url.href,
    cut,
    wasCut: wasCut.promise,
    /** Cuts when somebody sends this text. */
    cutAt: (text: string) => {
      fatal = text
    },
    silence: () => {
      state = 'silent'
    },
    heal: () => {
      state = 'whole'
      disconnect()
    },
    async [Symbol.asyncDispose]() {
      disconnect()
      server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
