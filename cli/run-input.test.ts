import { once } from 'node:events'
import { createServer } from 'node:http'
import { PassThrough } from 'node:stream'
import { json } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { Client } from './client.ts'
import { RunInput } from './run-input.ts'

type Piece = { data: string; end: boolean }

test('an end of standard input that comes while the last piece is on its way is told, too', async () => {
  const stdin = new PassThrough()
  const pieces: Piece[] = []
  const whole = Promise.withResolvers<void>()
  const server = createServer(async (request, response) => {
    const piece = (await json(request)) as Piece
    pieces.push(piece)
    // The first piece is answered only when the input has ended.
    if (pieces.length === 1) {
      const ended = once(stdin, 'end')
      stdin.end()
      await ended
    }
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ taken: true }))
    if (piece.end) whole.resolve()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('it has no port')

  const client = new Client({ api: `http://127.0.0.1:${address.port}`, token: 'any' })
  const input = RunInput.open(client, { app: 'hello', run: 'aaaaaaaaaaaa' }, stdin)
  onTestFinished(() => input.close())
  stdin.write('hello\n')
  await whole.promise
  expect(pieces).toMatchObject([
    { data: Buffer.from('hello\n').toString('base64'), end: false },
    { data: '', end: true },
  ])
})
