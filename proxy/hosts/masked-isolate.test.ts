import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ThrowAwayHome } from '../../sandbox/throw-away-home.ts'
import { startMasked } from './masked-isolate.ts'

let home: ThrowAwayHome

beforeAll(async () => {
  home = await ThrowAwayHome.make()
})

afterAll(() => home?.[Symbol.asyncDispose]())

const SECRET = `canary/${randomBytes(12).toString('hex')}`
const KEY = ['-----BEGIN-----', randomBytes(30).toString('base64'), 'aQ==', '-----END-----'].join('\n')
const env = { SECRET, KEY, LEVEL: 'true', STAGE: 'production', PUBLIC_ADDRESS: 'https://hello.example.com' }
const forms = [
  SECRET,
  ...['base64', 'hex'].map((how) =>
    Buffer.from(SECRET)
      .toString(how as 'hex')
      .slice(0, -4),
  ),
]

const printing = `
const { SECRET, KEY, LEVEL, STAGE, PUBLIC_ADDRESS } = process.env
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
console.log('it is ' + SECRET)
console.error('wrapped ' + Buffer.from('user:' + SECRET).toString('base64'))
console.log(Buffer.from(SECRET).toString('hex') + ' ' + encodeURIComponent(SECRET) + ' ' + JSON.stringify({ KEY }))
console.log(KEY)
process.stdout.write('in two pieces ' + SECRET.slice(0, 12))
await pause(50)
process.stdout.write(SECRET.slice(12) + '\\n')
console.log('over lines ' + SECRET.slice(0, 12) + '\\n' + SECRET.slice(12) + ' then')
console.log(SECRET + 'x'.repeat(1_000_000) + SECRET)
console.log(LEVEL, STAGE, PUBLIC_ADDRESS)
`
const server = `import { createServer } from 'node:http'\ncreateServer().listen(process.env.PORT)\n`

test('C7: an app that writes its secrets, in whatever form and in pieces, has their names in its log', async () => {
  const lines: string[] = []
  const files = { 'package.json': '{"type":"module"}', 'index.js': `${printing}${server}` }
  const isolate = await home.isolate({ start: startMasked, files, env, lines })
  await isolate.ready(60_000)
  await expect.poll(() => lines.at(-1)).toBe('true production https://hello.example.com')
  expect(lines.filter((line) => !line.startsWith('wrapped'))).toEqual([
    'it is [SECRET]',
    '[SECRET] [SECRET] {"KEY":"[KEY]"}',
    ...KEY.split('\n').map(() => '[KEY]'),
    'in two pieces [SECRET]',
    'over lines [SECRET]',
    '[SECRET] then',
    expect.stringMatching(/^\[SECRET\]x{16000,17000}…$/),
    'true production https://hello.example.com',
  ])
  await expect.poll(() => lines.some((line) => /^wrapped .*\[SECRET\]/.test(line))).toBe(true)
  expect(forms.filter((form) => lines.some((line) => line.includes(form)))).toEqual([])
})

test.each([
  ['ends before it listens', 'throw new Error("cannot connect with " + process.env.SECRET)'],
  ['ends later', `${server}setTimeout(() => { throw new Error('lost ' + process.env.SECRET) }, 50)`],
  [
    'writes it over two lines and ends',
    'console.error(process.env.SECRET.slice(0, 12)); console.error(process.env.SECRET.slice(12)); process.exit(3)',
  ],
])('C7: why an app ended that %s is told without its secrets, after all that it wrote', async (_how, code) => {
  const lines: string[] = []
  const files = { 'package.json': '{"type":"module"}', 'index.js': code }
  const isolate = await home.isolate({ start: startMasked, files, env, lines })
  const early = await isolate.ready(60_000).catch((thrown: Error) => thrown.message)
  const { error } = await isolate.exited
  const written = [...lines]
  for (const text of [error.message, ...(early ? [early] : []), ...lines]) {
    expect(text).not.toContain(SECRET.slice(0, 12))
    expect(text).not.toContain(SECRET.slice(12))
  }
  expect(error.message).toContain('[SECRET]')
  expect(error.cause).toBeUndefined()
  expect(written.join('\n')).toContain('[SECRET]')
})
