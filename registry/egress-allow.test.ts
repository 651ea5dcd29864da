import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { parseEgressAllow } from './egress-allow.ts'

describe('ATELIER_EGRESS_ALLOW', () => {
  test.each([
    ['npm.example.com', { kind: 'host', host: 'npm.example.com', port: null }],
    ['NPM.Example.com:8443', { kind: 'host', host: 'npm.example.com', port: 8443 }],
    ['registry', { kind: 'host', host: 'registry', port: null }],
    ['*.corp.example', { kind: 'suffix', suffix: 'corp.example', port: null }],
    ['*.corp.example:443', { kind: 'suffix', suffix: 'corp.example', port: 443 }],
    ['10.0.0.7', { kind: 'network', address: '10.0.0.7', prefix: 32, family: 'ipv4', port: null }],
    ['10.0.0.7:5432', { kind: 'network', address: '10.0.0.7', prefix: 32, family: 'ipv4', port: 5432 }],
    ['10.0.0.0/8', { kind: 'network', address: '10.0.0.0', prefix: 8, family: 'ipv4', port: null }],
    ['10.0.0.0/8:6379', { kind: 'network', address: '10.0.0.0', prefix: 8, family: 'ipv4', port: 6379 }],
    ['fd00::/8', { kind: 'network', address: 'fd00::', prefix: 8, family: 'ipv6', port: null }],
    ['[fd00::7]:5432', { kind: 'network', address: 'fd00::7', prefix: 128, family: 'ipv6', port: 5432 }],
  ])('%s is read', (text, rule) => {
    expect(parseEgressAllow(text)).toEqual({ rules: [rule], problems: [] })
  })

  test.each([
    'http://example.com',
    'example.com:0',
    'example.com:65536',
    'example.com:',
    '10.0.0.0/33',
    '10.0.0.0/x',
    'example.com/8',
    '*',
    '*.',
    'a*.example.com',
    '-a.example',
    '300.1.2.3',
    '0x7f.1',
    '2130706433',
    'fe80::1%eth0',
    '[::1',
    'user@host',
    'a b',
  ])('%s is refused by name', (text) => {
    const { rules, problems } = parseEgressAllow(text)
    expect(rules).toEqual([])
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(JSON.stringify(text))
  })

  test('any text is either read or refused, entry by entry', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const { rules, problems } = parseEgressAllow(text)
        expect(rules.length + problems.length).toBe(text.split(',').filter((entry) => entry.trim()).length)
      }),
    )
  })

  test('a bad entry stops the start and is named', () => {
    expect(readConfig({ ATELIER_EGRESS_ALLOW: 'db.corp.example, 10.1.0.0/16' }).egressAllow).toHaveLength(2)
    expect(() => readConfig({ ATELIER_EGRESS_ALLOW: 'db.corp.example,10.1.0.0/99' })).toThrow(
      /ATELIER_EGRESS_ALLOW: "10\.1\.0\.0\/99" /,
    )
  })
})
