import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePort } from '../test/support/machine.ts'
import { isAlive, processesOf } from '../test/support/processes.ts'

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'atl-'))
})
afterAll(() => rm(home, { recursive: true, force: true }))

const nowhere = 'postgres://atelier@localhost/atelier?host=/nonexistent'

function startRole(port: number): ChildProcess {
  const env = {
    ATELIER_HOME: home,
    ATELIER_HTTP_PORT: String(port),
    ATELIER_DATABASE_URL: nowhere,
    PATH: process.env.PATH,
  }
  return fork(join(import.meta.dirname, 'main.ts'), { env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
}

async function statusAt(port: number, address: string): Promise<number> {
  const asked = request({ host: address, port, headers: { host: 'nobody.apps.localhost' }, agent: false }).end()
  const [response] = await once(asked, 'response')
  response.resume()
  return response.statusCode
}

test('the role serves before Postgres is there, on IPv4 and IPv6, says so, and ends on SIGTERM', async () => {
  const port = await freePort()
  const role = startRole(port)
  expect((await once(role, 'message'))[0]).toEqual({ ready: true })
  expect(await statusAt(port, '127.0.0.1')).toBe(404)
  expect(await statusAt(port, '::1')).toBe(404)
  role.kill('SIGTERM')
  expect(await once(role, 'exit')).toEqual([0, null])
})

test('the role ends when its supervisor is gone', async () => {
  const role = startRole(await freePort())
  await once(role, 'message')
  role.disconnect()
  expect(await once(role, 'exit')).toEqual([0, null])
})

test.runIf(process.platform === 'linux')('edge processes end with their main process, however that ends', async () => {
  const role = startRole(await freePort())
  await once(role, 'message')
  const edges = processesOf(home).filter(({ command }) => command.includes('proxy/edge/main.ts'))
  expect(edges.length).toBeGreaterThan(0)
  role.kill('SIGKILL')
  await expect.poll(() => edges.filter(({ pid }) => isAlive(pid))).toEqual([])
})

test('a port that is taken ends the role with a sentence that names it', async () => {
  const port = await freePort()
  const other = createServer().listen(port)
  await once(other, 'listening')
  const role = startRole(port)
  let said = ''
  role.stderr?.on('data', (chunk) => {
    said += chunk
  })
  // Not `exit`, which comes before the last of what it said.
  const [code] = await once(role, 'close')
  expect(code).not.toBe(0)
  expect(said).toContain(`port ${port} is taken by another program`)
  other.close()
})
