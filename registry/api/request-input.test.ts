import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { readConfig } from '../config.ts'
import { count, flag, line } from './fields.ts'
import { readWith } from './request-input.ts'

const said = (schema: z.ZodType, value: unknown, from = 'body'): string => {
  try {
    readWith(schema, value, from)
  } catch (thrown) {
    return (thrown as Error).message
  }
  throw new Error('it was taken')
}

const page = z.strictObject({ limit: count(1, 200).default(20), all: flag.optional(), app: line(64).optional() })

describe('of a query or a path, where what was sent may be repeated', () => {
  test.each<[unknown, string]>([
    [{ limit: 'abc' }, 'query.limit: must be a whole number from 1 to 200, not "abc"'],
    [{ limit: '0' }, 'query.limit: must be a whole number from 1 to 200, not 0'],
    [{ limit: '201' }, 'query.limit: must be a whole number from 1 to 200, not 201'],
    [{ limit: '1.5' }, 'query.limit: must be a whole number from 1 to 200, not 1.5'],
    [{ limit: '1e309' }, 'query.limit: must be a whole number from 1 to 200, not Infinity'],
    [{ limit: ['1', '2'] }, 'query.limit: must be a whole number from 1 to 200, not a list'],
    [{ all: 'maybe' }, 'query.all: must be true or false, not "maybe"'],
    [{ all: `\u202e${'x'.repeat(99)}` }, `query.all: must be true or false, not "\ufffd${'x'.repeat(38)}…"`],
    [{ app: '' }, 'query.app: must not be empty'],
    [{ app: 'a'.repeat(65) }, 'query.app: must have at most 64 characters, not 65'],
    [{ app: 'a\nb' }, 'query.app: must be one line without control characters'],
    [{ app: ['a', 'b'] }, 'query.app: must be text, not a list'],
    [{ colour: 'x' }, 'query: does not take "colour"; it takes limit, all, app'],
    [{ a: '', b: '' }, 'query: does not take "a" or "b"; it takes limit, all, app'],
    [{ limit: 'x', all: 'y' }, expect.stringContaining('; query.all: must be true or false, not "y"')],
  ])('%j', (value, sentence) => {
    expect(said(page, value, 'query')).toEqual(sentence)
  })
})

const body = z.strictObject({
  name: z.string().min(8).max(20),
  days: z.number().int().min(1).max(3650).nullish(),
  share: z.number().optional(),
  least: z.number().min(2).optional(),
  role: z.enum(['owner', 'deployer', 'viewer']).optional(),
  kind: z.literal('lock').optional(),
  alone: z.boolean().optional(),
  events: z.array(z.string()).min(1).max(2).optional(),
  data: z.base64().optional(),
  at: z.iso.datetime({ offset: true }).optional(),
  values: z.record(z.string(), z.string()).optional(),
  inner: z.strictObject({ deep: z.array(z.strictObject({ x: z.string() })) }).optional(),
  source: z
    .union([
      z.strictObject({ git: z.string(), ref: z.string().optional() }),
      z.strictObject({ path: z.string().startsWith('/', 'must be an absolute folder') }),
    ])
    .optional(),
})
const good = { name: 'long enough' }

describe('of a body, whose words may be secrets', () => {
  test.each<[unknown, string]>([
    [undefined, 'body: is missing'],
    ['hush', 'body: must be an object, not text'],
    [null, 'body: must be an object, not null'],
    [[], 'body: must be an object, not a list'],
    [{}, 'body.name: is missing'],
    [{ name: 5 }, 'body.name: must be text, not 5'],
    [{ name: null }, 'body.name: must be text, not null'],
    [{ name: 'hush' }, 'body.name: must have at least 8 characters, not 4'],
    [{ name: 'hush'.repeat(6) }, 'body.name: must have at most 20 characters, not 24'],
    [{ ...good, days: 'hush' }, 'body.days: must be a whole number from 1 to 3650, not text'],
    [{ ...good, days: 0 }, 'body.days: must be a whole number from 1 to 3650, not 0'],
    [{ ...good, days: 2.5 }, 'body.days: must be a whole number from 1 to 3650, not 2.5'],
    [{ ...good, days: 2 ** 60 }, `body.days: must be a whole number from 1 to 3650, not ${2 ** 60}`],
    [{ ...good, share: true }, 'body.share: must be a number, not true'],
    [{ ...good, least: 1 }, 'body.least: must be a number, 2 or more, not 1'],
    [{ ...good, role: 'hush' }, 'body.role: must be owner, deployer or viewer'],
    [{ ...good, role: 7 }, 'body.role: must be owner, deployer or viewer, not 7'],
    [{ ...good, kind: 'hush' }, 'body.kind: must be lock'],
    [{ ...good, alone: 'true' }, 'body.alone: must be true or false, not text'],
    [{ ...good, events: 'hush' }, 'body.events: must be a list, not text'],
    [{ ...good, events: [] }, 'body.events: must not be empty'],
    [{ ...good, events: ['a', 'b', 'c'] }, 'body.events: must have at most 2 entries, not 3'],
    [{ ...good, events: ['a', {}] }, 'body.events.1: must be text, not an object'],
    [{ ...good, data: '!' }, 'body.data: must be base64'],
    [{ ...good, at: 'noon' }, 'body.at: must be a time such as 2026-11-23T09:14:05Z'],
    [{ ...good, values: { A: { hush: 'hush' } } }, 'body.values.A: must be text, not an object'],
    [{ ...good, inner: { deep: [{ x: 1 }] } }, 'body.inner.deep.0.x: must be text, not 1'],
    [{ ...good, inner: { deep: [{ x: 'a', y: 1 }] } }, 'body.inner.deep.0: does not take "y"; it takes x'],
    [{ ...good, source: 'hush' }, 'body.source: must be an object, not text'],
    [{ ...good, source: { git: 5 } }, 'body.source.git: must be text, not 5'],
    [{ ...good, source: { path: 'hush' } }, 'body.source.path: must be an absolute folder'],
    [{ ...good, source: {} }, 'body.source.git: is missing, or body.source.path: is missing'],
    [{ ...good, source: { git: 'x', rev: 'y' } }, 'body.source: does not take "rev"; it takes git, ref'],
  ])('%j', (value, sentence) => {
    expect(said(body, value)).toBe(sentence)
    expect(sentence).not.toContain('hush')
  })
})

test('and of a setting: nothing speaks of NaN or of what a library expected', () => {
  expect(() => readConfig({ ATELIER_HTTP_PORT: 'many', ATELIER_ISOLATION: 'maybe' })).toThrow(
    'ATELIER_HTTP_PORT: must be a whole number from 1 to 65535, not "many"; ATELIER_ISOLATION: must be require or warn, not "maybe"',
  )
})
