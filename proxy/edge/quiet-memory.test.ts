import { readFileSync } from 'node:fs'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, onTestFinished, test } from 'vitest'
import { createLog } from '../../registry/log.ts'
import { freedMemory } from './freed-memory.ts'
import { QuietMemory } from './quiet-memory.ts'

const megabyte = 1_048_576

test('memory is given back when there is much of it and the process is quiet, and then not for a while', async () => {
  let times = 0
  const limits = { lookEveryMs: 20, restMs: 3_600_000, minFreeCores: 0 }
  const memory = new QuietMemory(() => void times++, limits)
  onTestFinished(() => memory.close())
  const held = [Buffer.alloc(64 * megabyte)]
  // An event loop that always has something to do next.
  for (const until = performance.now() + 300; performance.now() < until; ) await turn()
  expect(times).toBe(0)
  await expect.poll(() => times).toBe(1)
  held.push(Buffer.alloc(64 * megabyte))
  await pause(200)
  expect(times).toBe(1)
  expect(held).toHaveLength(2)
})

test('nothing is given back where the machine has no core to spare', async () => {
  let times = 0
  const memory = new QuietMemory(() => void times++, { lookEveryMs: 20, minFreeCores: 10_000 })
  onTestFinished(() => memory.close())
  const held = Buffer.alloc(64 * megabyte)
  await pause(200)
  expect([times, held.length]).toEqual([0, 64 * megabyte])
})

test.skipIf(process.platform !== 'linux')('what was freed between what is still in use goes back to the system', () => {
  setFlagsFromString('--expose-gc')
  globalThis.gc ??= runInNewContext('gc')
  const log = createLog('test')
  log.level = 'silent'
  const giveBack = freedMemory(log)
  const kept = scattered()
  const before = ownMegabytes()
  giveBack()
  expect(before - ownMegabytes()).toBeGreaterThan(40)
  expect(kept).toHaveLength(60)
})

// 90 MB of buffers, of which one in fifty stays.
function scattered(): Buffer[] {
  return Array.from({ length: 3_000 }, () => Buffer.allocUnsafeSlow(30_000).fill(1)).filter((_, n) => n % 50 === 49)
}

function ownMegabytes(): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
}
