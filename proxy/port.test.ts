import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { canSharePorts, claimPort, listenOn } from './port.ts'

async function listening(shares: boolean) {
  const server = createServer()
  await listenOn(server, { host: '127.0.0.1', port: 0, shares })
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() }
}

test.each([false, true])(
  'a port that somebody listens on is in use, also when they would share it (%s)',
  async (shares) => {
    using taken = await listening(shares)
    const inUse = { code: 'PORT_IN_USE', message: expect.stringContaining(`port ${taken.port} is taken`) }
    await expect(claimPort({ host: '127.0.0.1', port: taken.port })).rejects.toMatchObject(inUse)
    await expect(claimPort({ port: taken.port })).rejects.toMatchObject(inUse)
  },
)

test('a port that nobody listens on is free afterwards too', async () => {
  const { port } = await listening(false).then((taken) => {
    taken[Symbol.dispose]()
    return taken
  })
  const { host } = await claimPort({ port })
  const server = createServer()
  await listenOn(server, { host, port })
  server.close()
  await once(server, 'close')
})

test.runIf(process.platform === 'linux')('processes share a port here', async () => {
  expect(await canSharePorts()).toBe(true)
})
