import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'
import { edgeProcesses } from '../../test/support/edge-process.ts'

const app = `import { createServer } from 'node:http'\ncreateServer((_, answer) => answer.end('fine')).listen(3000)`

test.runIf(process.platform === 'linux')(
  'F20: an edge that has no descriptor left says 503 or nothing, lives, and serves when it has some again',
  async () => {
    await using database = await createDatabase()
    await using edge = await TestEdge.start(database.url)
    await edge.deploy('server', { kind: 'server', server: { 'index.mjs': app } })
    await edge.deploy('files', { kind: 'static', files: { 'index.html': 'fine' } })
    const { edgePids } = edge
    for (const pid of edgePids) execFileSync('prlimit', ['--pid', String(pid), '--nofile=256:256'])

    // A visitor who is there already, on a connection of his own.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    const visit = async (host: string) => {
      const asked = request({ host: '127.0.0.1', port: edge.port, agent, headers: { host: edge.hostOf(host) } }).end()
      const [answer] = await once(asked, 'response')
      return { status: answer.statusCode, body: String(await buffer(answer)) }
    }
    expect(await visit('server')).toEqual({ status: 200, body: 'fine' })

    const crowd = Array.from({ length: 600 }, (): Socket => {
      const socket = connect(edge.port, '127.0.0.1')
      return socket.on('error', () => undefined)
    })
    await expect.poll(() => edgeProcesses(edge.port).descriptors).toBeGreaterThanOrEqual(250)
    for (let round = 0; round < 20; round++) {
      expect([200, 503]).toContain((await visit('files')).status)
      expect([200, 502, 503]).toContain((await visit('server')).status)
    }
    for (const socket of crowd) socket.destroy()
    await expect.poll(async () => (await edge.ask('server', '/').catch(() => null))?.status).toBe(200)
    await expect.poll(async () => (await visit('server')).status).toBe(200)
    expect(await visit('files')).toEqual({ status: 200, body: 'fine' })
    expect(edge.edgePids).toEqual(edgePids)
    expect(edgeProcesses(edge.port).pids).toEqual(edgePids)
  },
)
