import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { advertise, sendPack } from './exchange.ts'
import { Git } from './git.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { Repositories } from './repositories.ts'
import { clientOf } from './test-client.ts'
import { openBody } from './upload.ts'

let database: TestDatabase
let home: string
const started: string[][] = []

/** Notes what it is to start. */
class NotingGit extends Git {
  override start(...of: Parameters<Git['start']>) {
    started.push(of[0])
    return super.start(...of)
  }
}

beforeAll(async () => {
  database = await createDatabase()
  home = await mkdtemp(join(tmpdir(), 'gw-'))
})
afterAll(async () => {
  await rm(home, { recursive: true, force: true })
  await database[Symbol.asyncDispose]()
})

type Serve = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** Has a client send all of this and leave, and only then lets it be served; resolves when that is over. */
async function serveLate(bytes: Buffer, headers: Record<string, string>, serve: Serve): Promise<void> {
  const served = Promise.withResolvers<void>()
  const met = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    request.on('error', () => undefined)
    response.once('close', () => served.resolve(serve(request, response)))
    met.resolve()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket = await clientOf({ port }).begin('/', bytes, { headers, length: bytes.length })
  await met.promise
  socket.destroy()
  await served.promise.finally(() => server.close())
}

test.each(['identity', 'gzip'])(
  'a client that left before its clone began (%s) leaves no git behind',
  async (encoding) => {
    const git = new NotingGit({ maxPackBytes: 1_048_576 })
    const deps = { git, repositories: new Repositories(home, git) }
    const app = await createApp(database.sql, { id: `left-${encoding}`, by: 'test' })
    const asked = Buffer.concat([packet(`want ${'1'.repeat(40)}\n`), flushPacket, packet('done\n')])
    const bytes = encoding === 'gzip' ? gzipSync(asked) : asked
    const { signal: ended } = new AbortController()
    const headers = { 'content-encoding': encoding }
    const before = started.length
    await serveLate(bytes, headers, (request, response) =>
      sendPack(request, response, { access: { app }, body: openBody(request), ended }, deps),
    )
    await serveLate(bytes, headers, (request, response) =>
      advertise(request, response, { address: { service: 'git-upload-pack' }, access: { app } }, deps),
    )
    expect(started.slice(before)).toEqual([])
    await git.close()
  },
)

test('a body that its client has left ends, whole or not', async () => {
  const bytes = gzipSync('all of it')
  for (const sent of [bytes, bytes.subarray(0, 10)])
    await serveLate(sent, { 'content-encoding': 'gzip' }, async (request) => {
      await expect(openBody(request).toArray()).rejects.toThrow('the client left')
    })
})
