import { expect, test } from 'vitest'
import { PasswordTries, type Tried } from './password-tries.ts'

/** Tries whose checks end when they are told to; `begun`: whose, in the order in which they were let. */
function openTries(limits: ConstructorParameters<typeof PasswordTries>[0]) {
  const tries = new PasswordTries(limits)
  const begun: string[] = []
  const running: ((isRight: boolean) => void)[] = []
  const take = (client: string): Promise<Tried> =>
    tries.take(client, () => {
      const { promise, resolve } = Promise.withResolvers<boolean>()
      begun.push(client)
      running.push(resolve)
      return promise
    })
  /** Ends the one that was begun first, and waits for whoever is next. */
  const end = async (isRight = false): Promise<void> => {
    const wanted = begun.length + 1
    running.shift()?.(isRight)
    await expect.poll(() => begun.length).toBe(wanted)
  }
  return { take, begun, end, running }
}

const settled = async (all: Promise<Tried>[]) => (await Promise.all(all)).map(({ isRight }) => isRight)

test('clients take turns: one that comes behind a flood of another waits for one try of it', async () => {
  const { take, begun, end, running } = openTries({ atOnce: 1, waitingOfOne: 10 })
  const flood = Array.from({ length: 8 }, () => take('flood'))
  await expect.poll(() => begun).toEqual(['flood'])
  const visitor = take('visitor')
  await end()
  await end()
  expect(begun).toEqual(['flood', 'flood', 'visitor'])
  running.shift()?.(true)
  expect(await visitor).toEqual({ isRight: true })
  for (let left = 6; left > 0; left--) {
    await expect.poll(() => running.length).toBe(1)
    running.shift()?.(false)
  }
  expect(await settled(flood)).toEqual(flood.map(() => false))
})

test('more of one than may wait are told to come back, and when all places are taken the one with the most gives one up', async () => {
  const { take, begun, running } = openTries({ atOnce: 1, waitingOfOne: 3, waiting: 4 })
  const flood = Array.from({ length: 5 }, () => take('flood'))
  expect(await flood[4]).toEqual({ isRight: null, whose: 'client', retryAfterSec: 2 })
  const others = [take('one'), take('two')]
  expect(await flood[3]).toMatchObject({ isRight: null, whose: 'client' })
  others.push(take('three'))
  expect(await flood[2]).toMatchObject({ isRight: null, whose: 'client' })
  expect(await take('four')).toEqual({ isRight: null, whose: 'all', retryAfterSec: 5 })
  while (begun.length < 5 || running.length > 0) {
    await expect.poll(() => running.length).toBe(1)
    running.shift()?.(true)
    if (begun.length === 5) break
  }
  expect(await settled([...flood.slice(0, 2), ...others])).toEqual([true, true, true, true, true])
})

test('one that is told to come back is not tried all the same, though the client with the most asks itself', async () => {
  const { take, begun, running } = openTries({ atOnce: 1, waitingOfOne: 4, waiting: 4 })
  const first = take('first')
  await expect.poll(() => begun).toEqual(['first'])
  const flood = [take('flood'), take('flood'), take('flood')]
  const other = take('other')
  const last = take('flood')
  expect(await flood[2]).toMatchObject({ isRight: null, whose: 'client' })
  // All four places are taken, as before.
  const another = take('another')
  expect(await last).toMatchObject({ isRight: null, whose: 'client' })
  for (const client of ['first', 'flood', 'other', 'another', 'flood']) {
    await expect.poll(() => running.length).toBe(1)
    expect(begun.at(-1)).toBe(client)
    running.shift()?.(true)
  }
  expect(await settled([first, flood[0], flood[1], other, another].filter((one) => one !== undefined))).toEqual(
    Array.from({ length: 5 }, () => true),
  )
  expect(begun).toHaveLength(5)
})

test('who was wrong too often is not let again for a while, and others are', async () => {
  const { take, running, begun } = openTries({ atOnce: 1, wrongAMinute: 3 })
  for (let tried = 0; tried < 3; tried++) {
    const wrong = take('guesser')
    await expect.poll(() => running.length).toBe(1)
    running.shift()?.(false)
    expect(await wrong).toEqual({ isRight: false })
  }
  expect(await take('guesser')).toMatchObject({ isRight: null, whose: 'client', retryAfterSec: expect.any(Number) })
  const other = take('other')
  await expect.poll(() => running.length).toBe(1)
  running.shift()?.(true)
  expect(await other).toEqual({ isRight: true })
  expect(begun).toEqual(['guesser', 'guesser', 'guesser', 'other'])
})

test('a check that breaks costs that try alone', async () => {
  const tries = new PasswordTries({ atOnce: 1 })
  const broken = tries.take('one', () => Promise.reject(new Error('no memory')))
  await expect(broken).rejects.toThrow('no memory')
  expect(await tries.take('one', async () => true)).toEqual({ isRight: true })
})
