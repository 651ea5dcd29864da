import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EgressRule } from '../../registry/config.ts'
import { requireProgram } from '../../test/support/machine.ts'
import {
  type Attempt,
  Machine,
  ownAddress,
  type Place,
  ports,
  privateAddresses,
  publicAddress,
} from '../../test/support/network-machine.ts'
import { readResolvers } from './resolvers.ts'

const isRoot = process.getuid?.() === 0
const refused = /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EACCES|EPERM|ENOTFOUND)$/

beforeAll(async () => {
  await requireProgram('nft', ['nftables'])
  await requireProgram('ip', ['iproute2'])
  await requireProgram('pasta', ['passt'])
})

function ends(attempts: Attempt[]): Record<string, string> {
  return Object.fromEntries(attempts.map(({ place: { host, port }, how }) => [`${host} ${port}`, how]))
}

const forbidden: Place[] = [
  ...privateAddresses.flatMap((host) => ports.map((port) => ({ host, port }))),
  ...['private.example', '::ffff:10.0.0.5'].map((host) => ({ host, port: 80 })),
]
const ofHost: Place[] = ['127.0.0.1', '::1', '::ffff:127.0.0.1', ownAddress].flatMap((host) =>
  ports.map((port) => ({ host, port })),
)

describe.skipIf(!isRoot).each(['root', 'an ordinary user'])('I5 the network of an app, made by %s', (who) => {
  let machine: Machine
  beforeAll(async () => {
    machine = await Machine.start({ uid: who === 'root' ? 0 : 65_534 })
  })
  afterAll(() => machine[Symbol.asyncDispose]())

  test('leads to the internet and to no private address, nor to this host; outside the same connects work', async () => {
    const outside = await machine.order<Attempt[]>({ do: 'attempts outside', places: [...forbidden, ...ofHost] })
    const isOfHost = (place: Place) => ofHost.some(({ host }) => host === place.host)
    for (const { place, how } of outside) expect([place, how]).toEqual([place, isOfHost(place) ? 'machine' : 'world'])

    expect(await machine.order({ do: 'open' })).toEqual({ kind: 'filtered' })
    const { network } = await machine.order<{ network: number }>({ do: 'lease' })
    const reached = await machine.order<Attempt[]>({
      do: 'attempts',
      network,
      places: [
        { host: publicAddress, port: 80 },
        { host: 'public.example', port: 5432 },
      ],
    })
    expect(Object.values(ends(reached))).toEqual(['world', 'world'])

    const inside = await machine.order<Attempt[]>({
      do: 'attempts',
      network,
      places: [...forbidden, ...ofHost, { host: 'fd00::1', port: 80 }],
    })
    // At once, as far as this machine does anything at once just now.
    const atMostMs = 2_000 + 10 * Math.min(...inside.map(({ ms }) => ms))
    for (const { place, how, ms } of inside) {
      expect([place, how]).toEqual([place, expect.stringMatching(refused)])
      expect(ms).toBeLessThan(atMostMs)
    }
  })

  test('does not lead to another app', async () => {
    const { network: first } = await machine.order<{ network: number }>({ do: 'lease' })
    const { network: second } = await machine.order<{ network: number }>({ do: 'lease' })
    const address = await machine.order<string>({ do: 'listen', network: first })
    const tried = await machine.order<Attempt[]>({
      do: 'attempts',
      network: second,
      places: [{ host: address, port: 8080 }],
    })
    expect(tried[0]?.how).toMatch(refused)
  })
})

describe.skipIf(!isRoot)('networks of apps on one machine', () => {
  const nft = '/usr/sbin/nft'
  const ip = '/usr/sbin/ip'
  const internet = [{ host: publicAddress, port: 80 }]

  test('what ATELIER_EGRESS_ALLOW names is reached on its port, by address, network or name, also on this host', async () => {
    await using machine = await Machine.start()
    const egressAllow: EgressRule[] = [
      { kind: 'network', address: '10.0.0.0', prefix: 8, family: 'ipv4', port: 5432 },
      { kind: 'network', address: ownAddress, prefix: 32, family: 'ipv4', port: 6379 },
      { kind: 'host', host: 'public.example', port: null },
      { kind: 'suffix', suffix: 'example', port: null },
    ]
    await machine.order({ do: 'open', egressAllow })
    const { network } = await machine.order<{ network: number }>({ do: 'lease' })
    const tried = await machine.order<Attempt[]>({
      do: 'attempts',
      network,
      places: [5432, 6379].flatMap((port) => ['10.0.0.5', ownAddress].map((host) => ({ host, port }))),
    })
    expect(ends(tried)).toEqual({
      '10.0.0.5 5432': 'world',
      '10.0.0.5 6379': expect.stringMatching(refused),
      [`${ownAddress} 5432`]: expect.stringMatching(refused),
      [`${ownAddress} 6379`]: 'machine',
    })
  })

  test('an address the host has got since is refused, also by apps that run', async () => {
    await using machine = await Machine.start()
    await machine.order({ do: 'open' })
    const { network } = await machine.order<{ network: number }>({ do: 'lease' })
    await machine.tool(ip, 'address', 'add', '203.0.113.99/32', 'dev', 'lo')
    const places = [{ host: '203.0.113.99', port: 80 }]
    expect((await machine.order<Attempt[]>({ do: 'attempts outside', places }))[0]?.how).toBe('machine')
    expect((await machine.order<Attempt[]>({ do: 'attempts', network, places }))[0]?.how).toMatch(refused)
  })

  test('whoever empties the host’s firewall opens nothing, and the way out is soon there again', async () => {
    await using machine = await Machine.start()
    await machine.order({ do: 'open' })
    const { network } = await machine.order<{ network: number }>({ do: 'lease' })
    await machine.tool(nft, 'flush', 'ruleset')
    const places = [...forbidden.slice(0, 4), ...ofHost.slice(-4)]
    for (const { how } of await machine.order<Attempt[]>({ do: 'attempts', network, places }))
      expect(how).toMatch(refused)
    await machine.order({ do: 'refresh' })
    expect((await machine.order<Attempt[]>({ do: 'attempts', network, places: internet }))[0]?.how).toBe('world')
  })

  test('nothing is left when they are closed, and the host forwards no more than before', async () => {
    await using machine = await Machine.start()
    const forwarding = () =>
      machine.tool('/bin/cat', '/proc/sys/net/ipv4/conf/wan0/forwarding', '/proc/sys/net/ipv4/ip_forward')
    expect(await forwarding()).toBe('0\n0\n')
    await machine.order({ do: 'open' })
    await machine.order({ do: 'lease' })
    expect(await forwarding()).toBe('1\n0\n')
    expect(await machine.tool(ip, '-o', 'link')).toMatch(/ atl\d+@/)
    await machine.order({ do: 'close' })
    expect(await machine.tool(nft, 'list', 'ruleset')).toBe('')
    expect(await machine.tool(ip, '-o', 'link')).not.toMatch(/ atl\d+@/)
    expect(await forwarding()).toBe('0\n0\n')
  })

  test('what a killed platform leaves is nothing but a table, and the next one removes that', async () => {
    await using machine = await Machine.start()
    await machine.order({ do: 'open' })
    await machine.order({ do: 'lease' })
    const dead = machine.platform
    await machine.restartPlatform()
    await expect.poll(() => machine.tool(ip, '-o', 'link')).not.toMatch(/ atl\d+@/)
    expect(await machine.tool(nft, 'list', 'tables')).toContain(`atelier_${dead}_`)
    await machine.order({ do: 'open' })
    const { network } = await machine.order<{ network: number }>({ do: 'lease' })
    expect(await machine.tool(nft, 'list', 'tables')).not.toContain(`atelier_${dead}_`)
    expect((await machine.order<Attempt[]>({ do: 'attempts', network, places: internet }))[0]?.how).toBe('world')
    await machine.order({ do: 'close' })
    expect(await machine.tool(nft, 'list', 'ruleset')).toBe('')
  })

  test('a firewall that forwards nothing it was not told to is named', async () => {
    await using machine = await Machine.start()
    await machine.tool(
      nft,
      'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }',
    )
    expect(await machine.order({ do: 'open' })).toEqual({ kind: 'filtered' })
    expect(await machine.order({ do: 'warnings' })).toEqual([
      expect.stringMatching(/ip filter FORWARD .*DOCKER-USER -i atl\+/),
    ])
  })

  test('without a name server that apps could reach, they are left in the host’s network, and it is said why', async () => {
    await using machine = await Machine.start()
    await machine.tool('/bin/sh', '-c', 'echo nameserver 127.0.0.1 > /etc/resolv.conf')
    expect(await machine.order({ do: 'open' })).toEqual({
      kind: 'open',
      reason: expect.stringContaining('/etc/resolv.conf'),
    })
    expect(await machine.order({ do: 'lease' })).toEqual({ network: 0 })
    expect(await machine.tool(nft, 'list', 'ruleset')).toBe('')
  })
})

test.each([
  ['nameserver 10.0.0.1\nnameserver 1.1.1.1\n', '', ['10.0.0.1', '1.1.1.1'], false],
  ['nameserver 127.0.0.53\noptions edns0\n', 'nameserver 10.0.0.1\nnameserver fe80::1%2\n', ['10.0.0.1'], false],
  ['# nameserver 1.1.1.1\nnameserver 127.0.0.1\nnameserver ::1\n', '', [], true],
  ['', '', [], true],
])('name servers of %j and %j are %j', (first, second, reachable, isLocalOnly) => {
  const read = (path: string) => (path === '/etc/resolv.conf' ? first : second)
  expect(readResolvers(read)).toEqual({ reachable, isLocalOnly })
})
