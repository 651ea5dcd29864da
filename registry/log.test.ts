import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

const program = `
  import { createLog } from ${JSON.stringify(join(import.meta.dirname, 'log.ts'))}
  const log = createLog('proxy')
  process.once('message', () => {
    log.info('stopping')
    log.error({ app: 'hello' }, 'stopping failed')
    process.exit(7)
  })
  log.info({ app: 'hello' }, 'edge serves')
  process.send('ready')
`

function start() {
  return spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    timeout: 20_000,
    killSignal: 'SIGKILL',
  })
}

test('a line is one JSON object on stderr', async () => {
  const child = start()
  await once(child, 'message')
  child.send('go on')
  if (!child.stderr) throw new Error('no stderr')
  const lines = (await text(child.stderr))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines).toMatchObject([
    { level: 30, role: 'proxy', app: 'hello', msg: 'edge serves', time: expect.stringMatching(/Z$/) },
    { level: 30, msg: 'stopping' },
    { level: 50, msg: 'stopping failed' },
  ])
})

// A supervisor that was killed reads no more; the role that wrote to it at its own end never ended.
test('a role whose log has no reader any more still ends', async () => {
  const child = start()
  await once(child, 'message')
  child.stderr?.destroy()
  child.send('go on')
  expect(await once(child, 'exit')).toEqual([7, null])
})
