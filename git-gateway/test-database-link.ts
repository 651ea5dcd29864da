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
  let trap: { texts: string[]; spring: () => void; passes: boolean } | null = null

  const server = createServer((client) => {
    open.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => open.delete(client))
    if (state === 'cut') return client.destroy()
    const upstream = connect(join(host, `.s.PGSQL.${port}`))
    upstream.on('error', () => client.destroy())
    upstream.on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
    let said = 0
    client.on('data', (chunk) => {
      while (trap && said < trap.texts.length && chunk.includes(trap.texts[said] ?? '')) said++
      if (trap && said === trap.texts.length) {
        const { spring, passes } = trap
        trap = null
        if (passes) upstream.write(chunk)
        spring()
      }
      if (state === 'whole') upstream.write(chunk)
    })
    upstream.on('data', (chunk) => state === 'whole' && client.write(chunk))
  })
  server.listen(join(directory, `.s.PGSQL.${port}`))
  await once(server, 'listening')
  const disconnect = () => {
    for (const socket of open) socket.destroy()
  }

  let wasTrapped = Promise.withResolvers<void>()
  const cut = () => {
    state = 'cut'
    disconnect()
    wasTrapped.resolve()
  }
  const silence = () => {
    state = 'silent'
    wasTrapped.resolve()
  }
  const setTrap = (texts: string[], spring: () => void, passes: boolean): Promise<void> => {
    wasTrapped = Promise.withResolvers<void>()
    trap = { texts, spring, passes }
    return wasTrapped.promise
  }

  const url = new URL(databaseUrl)
  url.searchParams.set('host', directory)
  return {
    url: url.href,
    cut,
    silence,
    /** Cuts when a client has said these, one after the other; resolves then. */
    cutAt: (...texts: string[]) => setTrap(texts, cut, false),
    /** Is silent then, and the last does not arrive. */
    silenceAt: (...texts: string[]) => setTrap(texts, silence, false),
    /** Is silent then; the last arrives and is not answered. */
    silenceAfter: (...texts: string[]) => setTrap(texts, silence, true),
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
