import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Egress } from '../registry/egress/egress.ts'
import { readHostProxy } from '../registry/egress/host-proxy.ts'
import { BuildNetworks } from '../sandbox/network/build-network.ts'
import type { NetworkNamespace } from '../sandbox/network/network.ts'
import { ThrowAwayHome } from '../sandbox/throw-away-home.ts'
import { findWalls, type Walls } from '../sandbox/walls.ts'
import { type Row, repeat, seconds } from './measure.ts'

/** What the walls cost a start: a program that ends at once, started bare and behind the strongest walls of this machine, by turns. */
export async function measureLauncher(): Promise<Row[]> {
  await using home = await ThrowAwayHome.make()
  const walls = await findWalls(home.buildUser)
  const networks = openNetworks(0)
  const network = await networks.lease(() => undefined)
  const [bare, behind]: [number[], number[]] = [[], []]
  await repeat(30, async () => {
    bare.push(1000 * (await seconds(() => once(spawn('/bin/true', { stdio: ['ignore', 'pipe', 'pipe'] }), 'close'))))
    behind.push(1000 * (await seconds(() => runTrue(home, walls, network.namespace))))
  })
  network.release()
  await networks.close()
  const what = `a program behind walls (${walls.name}, own network)`
  return [
    { what, values: behind, unit: 'ms', target: '≤ 30 ms over bare', rival: { what: 'started bare', values: bare } },
  ]
}

function runTrue(home: ThrowAwayHome, walls: Walls, namespace: NetworkNamespace | null) {
  const limits = { memoryMb: 512, processes: 100 }
  return home.run({ file: '/bin/true', cwd: home.path, limits, ...(namespace && { network: namespace }) }, walls)
}

/** A download through the relay of builds, from inside a build's network, and the same directly, by turns. */
export async function measureRelay(): Promise<Row[]> {
  return [
    await measureDownload(256, 125, 'from a server with 1 Gbit/s'),
    await measureDownload(512, 312, 'from a server with 2.5 Gbit/s'),
    await measureDownload(512, null, 'as fast as this machine talks to itself'),
  ]
}

async function measureDownload(downloadMb: number, mbPerSec: number | null, from: string): Promise<Row> {
  await using home = await ThrowAwayHome.make()
  const server = await serveBytes(downloadMb, mbPerSec)
  const networks = openNetworks(server.port)
  const network = await networks.lease(() => undefined)
  if (!network.namespace || !network.proxy) throw new Error('this machine gives builds no network of their own')
  const [direct, relayed]: [number[], number[]] = [[], []]
  const download = async (proxy: string | null, namespace: NetworkNamespace | null) => {
    const args = ['-e', downloadScript, String(server.port), proxy ? new URL(proxy).port : '', String(downloadMb)]
    const { stdout, stderr } = await home.run({
      file: process.execPath,
      args,
      ...(namespace && { network: namespace }),
    })
    if (!Number(stdout)) throw new Error(stderr)
    return (downloadMb * 1000) / Number(stdout)
  }
  await repeat(7, async () => {
    direct.push(await download(null, null))
    relayed.push(await download(network.proxy, network.namespace))
  })
  network.release()
  await networks.close()
  server.close()
  const what = `download through the relay, ${from}`
  return { what, values: relayed, unit: 'MB/s', target: '≥ 0.8 × direct', rival: { what: 'direct', values: direct } }
}

function openNetworks(port: number): BuildNetworks {
  const rule = { kind: 'network', address: '127.0.0.1', prefix: 32, family: 'ipv4', port } as const
  return new BuildNetworks({
    egress: new Egress({ settings: () => ({ rules: [rule], hostProxy: readHostProxy({}) }) }),
  })
}

async function serveBytes(downloadMb: number, mbPerSec: number | null): Promise<{ port: number; close(): void }> {
  const chunk = Buffer.alloc(1_048_576, 'x')
  const server = createServer((socket) => {
    let sent = 0
    let startedAt = 0
    const write = () => {
      while (sent < downloadMb) {
        const aheadMs = mbPerSec === null ? 0 : (1000 * sent) / mbPerSec - (performance.now() - startedAt)
        if (aheadMs > 1) return void setTimeout(write, aheadMs)
        sent++
        if (!socket.write(chunk)) return void socket.once('drain', write)
      }
      socket.end()
    }
    socket
      .on('error', () => socket.destroy())
      .once('data', () => {
        startedAt = performance.now()
        write()
      })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() }
}

// Prints the milliseconds from the first word to the last byte.
const downloadScript = `
  const [port, relay, mb] = process.argv.slice(1)
  const started = performance.now()
  const socket = require('node:net').connect(Number(relay || port), '127.0.0.1')
  const ask = () => socket.write('go')
  let bytes = 0
  if (relay) {
    socket.write('CONNECT 127.0.0.1:' + port + ' HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
    socket.once('data', (head) => { if (!String(head).includes(' 200 ')) throw new Error(String(head)); ask(); read() })
  } else socket.once('connect', () => { ask(); read() })
  function read() { socket.on('data', (chunk) => { bytes += chunk.length }) }
  socket.once('end', () => { if (bytes !== Number(mb) * 1048576) throw new Error(bytes + ' bytes'); console.log(performance.now() - started) })
`
