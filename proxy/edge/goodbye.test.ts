import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../test/support/database.ts'
import { TestEdge } from '../../test/support/edge.ts'

let database: TestDatabase
let edge: TestEdge

beforeAll(async () => {
  database = await createDatabase()
  // Whoever waits for this deadline waits for longer than the test may take.
  edge = await TestEdge.start(database.url, { limits: { closeDeadlineMs: 600_000 } })
})

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]()
  await database?.[Symbol.asyncDispose]()
})

const slow = `import { createServer } from 'node:http'
createServer((_, response) => setTimeout(() => response.end('ok'), 300)).listen(3000)`

test('a platform that stops tells clients that their connections end, and cuts no request', async () => {
  await edge.deploy('slow', { kind: 'server', server: { 'index.mjs': slow } })
  const socket = await edge.socket()
  const ask = () => socket.write(`GET / HTTP/1.1\r\nHost: ${edge.hostOf('slow')}\r\n\r\n`)
  const answers: string[] = []
  let isLast = false
  let isCut = false
  let heard = ''
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
    if (!heard.endsWith('\r\n\r\nok')) return
    answers.push(heard)
    isLast = /^connection: close\r$/im.test(heard)
    heard = ''
    if (!isLast) ask()
  })
  socket.on('close', () => {
    isCut = !isLast
  })
  ask()
  await expect.poll(() => answers.length).toBeGreaterThanOrEqual(2)
  const closed = once(socket, 'close')
  await Promise.all([edge.shut(), closed])
  expect(isCut).toBe(false)
  expect(answers.every((answer) => answer.startsWith('HTTP/1.1 200 '))).toBe(true)
})
