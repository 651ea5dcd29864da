import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'
import type { Isolate } from './isolate.ts'
import { type Lane, LaneClient } from './lane-client.ts'
import { lanesPath } from './lanes-path.ts'

async function lanesOf(isolate: Isolate): Promise<LaneClient> {
  const client = new LaneClient(lanesPath(isolate.socketPath))
  onTestFinished(() => client.close())
  await expect.poll(() => client.hasRoom).toBe(true)
  return client
}

/** An open lane, and what has come of it. */
async function laneOf(client: LaneClient): Promise<{ lane: Lane; heard: () => string; isClosed: () => boolean }> {
  let text = ''
  let isClosed = false
  const { promise, resolve } = Promise.withResolvers<void>()
  const lane = client.open({
    connected: resolve,
    received: (bytes) => {
      text += bytes.toString('latin1')
    },
    finished: () => undefined,
    closed: () => {
      isClosed = true
    },
  })
  await promise
  return { lane, heard: () => text, isClosed: () => isClosed }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`

test('what an app has answered before it exits has been sent', async () => {
  await using home = await ThrowAwayHome.make()
  const isolate = await home.isolate({
    files: {
      'index.js': `require('http').createServer((request, response) => {
        response.end('goodbye')
        if (request.url === '/exit') process.exit(3)
      }).listen(process.env.PORT)`,
    },
  })
  await isolate.ready(10_000)
  expect(isolate.speaks()).toBe('lanes')
  const client = await lanesOf(isolate)
  // The second answer comes too soon after the first to be written by itself.
  const lanes = await Promise.all([laneOf(client), laneOf(client)])
  lanes[0]?.lane.write(get('/'))
  lanes[1]?.lane.write(get('/exit'))
  expect(await isolate.exited).toMatchObject({ code: 3 })
  for (const { heard, isClosed } of lanes) {
    await expect.poll(isClosed).toBe(true)
    expect(heard()).toMatch(/\r\n\r\ngoodbye$/)
  }
})

test('an error thrown for one request reaches the app as ever, and the requests that came with it are served', async () => {
  await using home = await ThrowAwayHome.make()
  const lines: string[] = []
  const isolate = await home.isolate({
    lines,
    files: {
      'index.js': `
        process.on('uncaughtException', (error) => console.log('caught ' + error.message))
        require('http').createServer((request, response) => {
          if (request.url === '/throw') throw new Error('for this one')
          response.end('served')
        }).listen(process.env.PORT)`,
    },
  })
  await isolate.ready(10_000)
  const client = await lanesOf(isolate)
  const lanes = await Promise.all(Array.from({ length: 5 }, () => laneOf(client)))
  for (const [index, { lane }] of lanes.entries()) lane.write(get(index === 2 ? '/throw' : '/'))
  for (const index of [0, 1, 3, 4]) await expect.poll(() => lanes[index]?.heard()).toMatch(/\r\n\r\nserved$/)
  await expect.poll(() => lines).toEqual(['caught for this one'])
})

test('what an app answers before it keeps its thread busy does not wait for that', async () => {
  await using home = await ThrowAwayHome.make()
  const isolate = await home.isolate({
    files: {
      'index.js': `require('http').createServer((_, response) => {
        response.end('there')
        for (;;);
      }).listen(process.env.PORT)`,
    },
  })
  await isolate.ready(10_000)
  const { lane, heard } = await laneOf(await lanesOf(isolate))
  // Nothing has been written just now, then.
  await new Promise((settle) => setTimeout(settle, 50))
  lane.write(get('/'))
  await expect.poll(heard).toMatch(/\r\n\r\nthere$/)
})

test('a server of another kind has no lanes, and an app that looks at its connections none either', async () => {
  await using home = await ThrowAwayHome.make()
  for (const app of [
    `require('net').createServer((socket) => socket.end('hello')).listen(process.env.PORT)`,
    `require('http').createServer().on('connection', (socket) => socket.end('hello')).listen(process.env.PORT)`,
  ]) {
    const isolate = await home.isolate({ files: { 'index.js': app } })
    await isolate.ready(10_000)
    expect(isolate.speaks()).toBe('http')
    expect(String((await once(connect(isolate.socketPath), 'data'))[0])).toBe('hello')
  }
})
