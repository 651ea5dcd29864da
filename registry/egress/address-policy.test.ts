import { BlockList } from 'node:net'
import { networkInterfaces } from 'node:os'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ownAddresses, refusalOf } from './address-policy.ts'

const none = new BlockList()

const byte = fc.integer({ min: 0, max: 255 })
const ipv4 = fc.tuple(byte, byte, byte, byte)
const dotted = (bytes: number[]) => bytes.join('.')

// Written from the RFCs, without prefixes: the other implementation in the comparison.
function isPublic([a = 0, b = 0, c = 0]: number[]): boolean {
  if (a === 0 || a === 10 || a === 127 || a >= 224) return false
  if (a === 100 && b >= 64 && b <= 127) return false
  if (a === 169 && b === 254) return false
  if (a === 172 && b >= 16 && b <= 31) return false
  if (a === 192 && (b === 168 || (b === 0 && c === 0) || (b === 88 && c === 99))) return false
  return !(a === 198 && (b === 18 || b === 19))
}

/** Every way to write 16 bytes as groups: full or short, upper or lower case, dotted at the end or not. */
function spellings(bytes: number[]): string[] {
  const groups = Array.from({ length: 8 }, (_, at) => ((bytes[at * 2] ?? 0) << 8) | (bytes[at * 2 + 1] ?? 0))
  const short = groups.map((group) => group.toString(16))
  const full = short.map((group) => group.padStart(4, '0'))
  const zeros = /(^|:)0(:0)+(:|$)/.exec(short.join(':'))
  const squeezed = zeros ? short.join(':').replace(zeros[0], '::') : short.join(':')
  return [
    short.join(':'),
    full.join(':').toUpperCase(),
    squeezed,
    `${short.slice(0, 6).join(':')}:${dotted(bytes.slice(12))}`,
  ]
}

describe('B3 addresses', () => {
  test.each([
    ['127.0.0.1', 'a loopback address'],
    ['0.0.0.0', 'an address of this host'],
    ['10.1.2.3', 'a private address'],
    ['172.16.0.1', 'a private address'],
    ['172.31.255.255', 'a private address'],
    ['192.168.1.1', 'a private address'],
    ['100.64.0.1', 'an address of a provider’s own network'],
    ['169.254.169.254', 'a link-local address'],
    ['198.18.0.1', 'a reserved address'],
    ['224.0.0.1', 'a multicast address'],
    ['255.255.255.255', 'a reserved address'],
    ['::', 'a reserved address'],
    ['::1', 'a loopback address'],
    ['0:0:0:0:0:0:0:1', 'a loopback address'],
    ['::ffff:127.0.0.1', 'a loopback address'],
    ['::ffff:7f00:1', 'a loopback address'],
    ['::127.0.0.1', 'a reserved address'],
    ['64:ff9b::169.254.169.254', 'a link-local address'],
    ['64:ff9b:1::1', 'a reserved address'],
    ['2002:7f00:1::', 'a 6to4 address'],
    ['2001::1', 'a reserved address'],
    ['fd00::1', 'a private address'],
    ['fe80::1', 'a link-local address'],
    ['fe80::1%eth0', 'a link-local address'],
    ['2606:4700::1%eth0', 'a link-local address'],
    ['ff02::1', 'a multicast address'],
    ['127.1', 'not an address'],
    ['0x7f.0.0.1', 'not an address'],
    ['2130706433', 'not an address'],
    ['', 'not an address'],
  ])('%s is %s', (address, what) => {
    expect(refusalOf(address, none)).toBe(what)
  })

  test.each([
    '1.1.1.1',
    '172.15.255.255',
    '172.32.0.1',
    '100.63.255.255',
    '203.0.113.7',
    '2606:4700:4700::1111',
    '::ffff:1.1.1.1',
    '64:ff9b::1.1.1.1',
  ])('%s is on the internet', (address) => {
    expect(refusalOf(address, none)).toBeNull()
  })

  test('every IPv4 address is judged as the RFCs say', () => {
    fc.assert(
      fc.property(ipv4, (bytes) => {
        expect(refusalOf(dotted(bytes), none) === null).toBe(isPublic(bytes))
      }),
      { numRuns: 2000 },
    )
  })

  test('an IPv4 address wrapped in IPv6 is what it is by itself, however it is written', () => {
    const wrapped = [
      [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255],
      [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    fc.assert(
      fc.property(ipv4, fc.constantFrom(...wrapped), (bytes, head) => {
        for (const text of spellings([...head, ...bytes]))
          expect([text, refusalOf(text, none)]).toEqual([text, refusalOf(dotted(bytes), none)])
      }),
    )
  })

  test('no IPv6 address outside 2000::/3 passes unless it carries IPv4, however it is written', () => {
    const bytes = fc.array(byte, { minLength: 16, maxLength: 16 })
    fc.assert(
      fc.property(bytes, (all) => {
        const carries = /^(0,){10}255,255,|^0,100,255,155,(0,){8}/.test(`${all.join()},`)
        if (carries || (all[0] ?? 0) >> 5 === 1) return
        for (const text of spellings(all)) expect(refusalOf(text, none)).not.toBeNull()
      }),
      { numRuns: 1000 },
    )
  })

  test('whatever text is asked for, there is an answer', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.ipV6(), fc.ipV4Extended()), (text) => void refusalOf(text, none)))
  })

  test('this host’s own addresses are refused, also when they are public, also wrapped', () => {
    const own = new BlockList()
    own.addAddress('203.0.113.7', 'ipv4')
    own.addAddress('2606:4700::7', 'ipv6')
    expect(refusalOf('203.0.113.7', own)).toBe('an address of this host')
    expect(refusalOf('::ffff:203.0.113.7', own)).toBe('an address of this host')
    expect(refusalOf('2606:4700:0::7', own)).toBe('an address of this host')
    expect(refusalOf('203.0.113.8', own)).toBeNull()
    const [first] = Object.values(networkInterfaces()).flat()
    expect(refusalOf(first?.address ?? '', ownAddresses())).not.toBeNull()
  })
})
