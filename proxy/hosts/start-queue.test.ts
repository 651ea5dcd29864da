import { expect, test } from 'vitest'
import { createLog } from '../../registry/log.ts'
import { StartQueue } from './start-queue.ts'

const log = createLog('test')
log.level = 'silent'

test('starts that nobody waits for are made a few at a time, whatever becomes of them', async () => {
  const queue = new StartQueue({ atOnce: 4, log })
  const ends: (() => void)[] = []
  let most = 0
  let running = 0
  for (let index = 0; index < 1_000; index++) {
    queue.add(async () => {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve, reject) =>
        ends.push(index % 3 === 0 ? () => reject(new Error('it cannot start')) : resolve),
      )
      running--
    })
  }
  expect(ends.length).toBe(4)
  while (ends.length < 1_000) {
    const before = ends.length
    for (const end of ends.slice(-4)) end()
    await expect.poll(() => ends.length, { interval: 1 }).toBeGreaterThan(before)
  }
  for (const end of ends) end()
  expect(most).toBeLessThanOrEqual(340)
})
