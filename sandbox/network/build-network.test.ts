import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import type { EgressRule } from '../../registry/config.ts'
import { Egress } from '../../registry/egress/egress.ts'
import { readHostProxy } from '../../registry/egress/host-proxy.ts'
import { openOnLoopback } from '../../test/support/loopback-only.ts'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { BuildNetworks } from './build-network.ts'
import { closeNamespace, isInUse, makeListeningNamespace } from './network.ts'

const home = await ThrowAwayHome.make()
const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})
afterAll(() => home[Symbol.asyncDispose]())

function openNetworks(rules: EgressRule[] = []): BuildNetworks {
  const egress = new Egress({
    settings: () => ({ rules, hostProxy: readHostProxy({}) }),
    resolve: async () => ['127.0.0.1'],
    open: openOnLoopback,
  })
  const networks = new BuildNetworks({ egress })
  opened.push(() => networks.close())
  return networks
}

async function greeter(host: string, port = 0): Promise<number> {
  const server: Server = createServer((socket) => void socket.on('error', () => socket.destroy()).end('hello'))
  server.listen(port, host)
  await once(server, 'listening')
  opened.push(() => server.close())
  return (server.address() as AddressInfo).port
}

// Connects to each place, by itself and through the relay, and says how each ended and after how long.
const tryAll = `
  const { connect } = require('node:net')
  const [places, proxy] = JSON.parse(process.argv[1])
  const attempt = (place, options, first) => new Promise((done) => {
    const started = performance.now()
    const socket = connect(options)
    let heard = ''
    const end = (how) => { socket.destroy(); done({ place, how, ms: performance.now() - started }) }
    socket.on('data', (chunk) => { heard += chunk })
    socket.once('connect', () => first && socket.write(first))
    socket.once('end', () => end(heard))
    socket.once('error', (error) => end(error.code))
    socket.setTimeout(10_000, () => end('silence'))
  })
  const relay = { host: '127.0.0.1', port: Number(new URL(proxy).port) }
  const spelled = ({ host, port }) => (host.includes(':') ? '[' + host + ']' : host) + ':' + port
  Promise.all(places.flatMap((place) => [
    attempt(place, place),
    attempt(place, relay, 'CONNECT ' + spelled(place) + ' HTTP/1.1\\r\\n\\r\\n'),
  ])).then((ends) => console.log(JSON.stringify(ends)))
`
type Attempt = { place: { host: string; port: number }; how: string; ms: number }

describe('B3 from inside a build', () => {
  test('nothing of this host or of a private network is reached, by a socket or through the relay; outside the same connects work', async () => {
    const own = Object.entries(networkInterfaces())
      .flatMap(([name, found]) => (name.startsWith('atl') ? [] : (found ?? [])))
      .filter(({ internal, family }) => !internal && family === 'IPv4')
      .map(({ address }) => address)
    const on4 = await greeter('0.0.0.0')
    const on6 = await greeter('::')
    const listened = [
      ...['127.0.0.1', '127.0.0.2', ...own].map((host) => ({ host, port: on4 })),
      ...['::1', '::ffff:127.0.0.1'].map((host) => ({ host, port: on6 })),
    ]
    const usual = await Promise.all(
      [6379, 5432, 9000].map((port) =>
        greeter('127.0.0.1', port).then(
          (found) => [{ host: '127.0.0.1', port: found }],
          () => [],
        ),
      ),
    )
    const elsewhere = [
      '169.254.169.254',
      '10.0.0.1',
      '172.16.0.1',
      '192.168.0.1',
      '100.64.0.1',
      'fd00::1',
      'private.example',
    ]
    const places = [...listened, ...usual.flat(), ...elsewhere.map((host) => ({ host, port: 80 }))]

    const network = await openNetworks().lease(() => undefined)
    expect(network.namespace).not.toBeNull()
    const { stdout, stderr } = await home.run({
      file: process.execPath,
      args: ['-e', tryAll, JSON.stringify([places, network.proxy])],
      network: network.namespace ?? undefined,
    })
    expect(stderr).toBe('')
    const ends: Attempt[] = JSON.parse(stdout)
    expect(ends).toHaveLength(places.length * 2)
    // At once, as far as this machine does anything at once just now.
    const atMostMs = 2_000 + 10 * Math.min(...ends.map(({ ms }) => ms))
    for (const { place, how, ms } of ends) {
      expect([place, how]).toEqual([
        place,
        expect.stringMatching(
          /^(ECONNREFUSED|ENETUNREACH|EADDRNOTAVAIL|EAI_AGAIN|ENOTFOUND)$|^HTTP\/1\.1 403 .*ATELIER_EGRESS_ALLOW/,
        ),
      ])
      expect(ms).toBeLessThan(atMostMs)
    }
    for (const { host, port } of listened) expect([host, await text(connect(port, host))]).toEqual([host, 'hello'])
  })

  test('what the rules name is reached, and counted', async () => {
    const port = await greeter('127.0.0.1')
    const rules: EgressRule[] = [{ kind: 'network', address: '127.0.0.1', prefix: 32, family: 'ipv4', port }]
    const network = await openNetworks(rules).lease(() => undefined)
    const curl = `exec 3<>/dev/tcp/127.0.0.1/${new URL(network.proxy ?? '').port}; printf 'CONNECT 127.0.0.1:${port} HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3`
    const { stdout } = await home.run({
      file: '/bin/bash',
      args: ['-c', curl],
      network: network.namespace ?? undefined,
    })
    expect(stdout).toMatch(/^HTTP\/1\.1 200 [\s\S]*hello$/)
    expect(network.use()).toEqual({ received: 5, sent: 0 })
  })
})

describe('networks of builds', () => {
  test('two builds at a time have two, and one that is empty serves the next build', async () => {
    const networks = openNetworks()
    expect(await networks.prepare()).toEqual({ kind: 'filtered' })
    const [first, second] = [await networks.lease(() => undefined), await networks.lease(() => undefined)]
    expect(first.namespace?.netFd).not.toBe(second.namespace?.netFd)
    first.release()
    first.release()
    const third = await networks.lease(() => undefined)
    expect(third.namespace).toEqual(first.namespace)
    const fourth = await networks.lease(() => undefined)
    expect(fourth.namespace).not.toEqual(third.namespace)
  })

  test('one that something is left in serves nobody else', async () => {
    const networks = openNetworks()
    const first = await networks.lease(() => undefined)
    const controller = new AbortController()
    const sleeping = home.run({
      file: '/bin/sleep',
      args: ['1000'],
      network: first.namespace ?? undefined,
      signal: controller.signal,
    })
    const { namespace } = first
    await expect.poll(() => namespace && isInUse(namespace)).toBe(true)
    const before = fstatSync(namespace?.netFd ?? -1).ino
    first.release()
    const second = await networks.lease(() => undefined)
    expect(fstatSync(second.namespace?.netFd ?? -1).ino).not.toBe(before)
    controller.abort()
    await sleeping
  })

  test('where none can be made, a build is told so and has the host’s', async () => {
    const make = () => Promise.reject(new Error('no network namespace can be made; install bubblewrap'))
    const egress = new Egress({ settings: () => ({ rules: [], hostProxy: readHostProxy({}) }) })
    const networks = new BuildNetworks({ egress, make })
    expect(await networks.prepare()).toEqual({ kind: 'open', reason: expect.stringContaining('install bubblewrap') })
    expect(await networks.lease(() => undefined)).toMatchObject({ namespace: null, proxy: null })
    await networks.close()
  })

  test('a namespace is gone when nobody holds it', async () => {
    const made = await makeListeningNamespace(0)
    expect(isInUse(made)).toBe(false)
    made.server.close()
    closeNamespace(made)
    expect(() => isInUse(made)).toThrow('EBADF')
  })
})
