import { expect, test } from 'vitest'
import { Fuse, type FuseWord } from './fuse.ts'

const halfMinute = 30_000

const alone = () => new Fuse(() => undefined)

function blown(): Fuse {
  const fuse = alone()
  for (let at = 0; at < 5; at++) {
    expect(fuse.admits(at)).toBe(true)
    fuse.failed(at, at)
  }
  return fuse
}

test('the fifth failure in a row keeps requests from the candidate for half a minute', () => {
  const fuse = blown()
  expect(fuse.admits(5)).toBe(false)
  expect(fuse.admits(4 + halfMinute - 1)).toBe(false)
})

test('an answer between the failures begins the count anew, a client that leaves does not', () => {
  const fuse = alone()
  for (let at = 0; at < 4; at++) fuse.failed(at, at)
  fuse.answered(4)
  for (let at = 5; at < 9; at++) fuse.failed(at, at)
  expect(fuse.admits(9)).toBe(true)
  fuse.left(9)
  fuse.failed(10, 10)
  expect(fuse.admits(11)).toBe(false)
})

test('after half a minute one request tries, and its answer decides for all', () => {
  const later = 5 + halfMinute
  const good = blown()
  expect(good.admits(later)).toBe(true)
  expect(good.admits(later)).toBe(false)
  good.answered(later)
  expect(good.admits(later + 1)).toBe(true)

  const bad = blown()
  expect(bad.admits(later)).toBe(true)
  bad.failed(later, later + 100)
  expect(bad.admits(later + 100 + halfMinute - 1)).toBe(false)
  expect(bad.admits(later + 100 + halfMinute)).toBe(true)
})

test('when the client of the one that tries has left, the next tries', () => {
  const later = 5 + halfMinute
  const fuse = blown()
  expect(fuse.admits(later)).toBe(true)
  fuse.left(later)
  expect(fuse.admits(later + 1)).toBe(true)
})

test('what was on its way when the fuse blew neither mends it nor keeps it open', () => {
  const fuse = blown()
  fuse.answered(3)
  expect(fuse.admits(6)).toBe(false)
  fuse.failed(3, 20_000)
  expect(fuse.admits(4 + halfMinute)).toBe(true)
})

test('what the old deployment fails too does not blow the fuse, and mends one that blew a moment before', () => {
  const fuse = alone()
  fuse.old(503, 0, 0)
  fuse.old(502, 1, 1)
  for (let at = 2; at < 12; at++) fuse.candidate(503, at, at)
  expect(fuse.admits(12)).toBe(true)

  const hasty = blown()
  hasty.old(503, 5, 5)
  expect(hasty.admits(6)).toBe(false)
  hasty.old(504, 6, 7)
  expect(hasty.admits(8)).toBe(true)
})

test('after an outage of both a candidate that stays dead blows it when twenty answers of the old deployment are good', () => {
  const fuse = alone()
  for (const at of [0, 1]) fuse.old(503, at, at)
  for (let at = 2; at < 20; at++) fuse.old(200, at, at)
  fuse.candidate(503, 20, 20)
  fuse.old(200, 21, 21)
  // Begun while both failed, and ended later.
  for (let at = 22; at < 32; at++) fuse.candidate(504, 19, at)
  expect(fuse.admits(32)).toBe(true)
  for (let at = 33; at < 37; at++) fuse.candidate(503, at, at)
  expect(fuse.admits(37)).toBe(true)
  fuse.candidate(503, 37, 37)
  expect(fuse.admits(38)).toBe(false)
})

test('what one process sees fail in both mends the fuse of all', () => {
  const told: FuseWord[] = []
  const fuse = new Fuse((word) => told.push(word))
  fuse.old(503, 0, 0)
  fuse.hear(5, 1)
  expect(fuse.admits(2)).toBe(false)
  fuse.old(500, 2, 2)
  fuse.old(503, 3, 3)
  expect(told).toEqual(['answered'])
  fuse.hear(6, 4)
  expect(fuse.admits(5)).toBe(true)
  fuse.old(null, 5, 5)
  fuse.old(503, 6, 6)
  expect(told).toEqual(['answered', 'answered'])
})

test('failures in a row are those of all processes, and an answer in one of them is one in all', () => {
  const told: FuseWord[] = []
  const fuse = new Fuse((word) => told.push(word))
  fuse.failed(0, 0)
  fuse.hear(4, 1)
  fuse.hear(0, 2)
  fuse.failed(3, 3)
  fuse.hear(4, 4)
  expect(fuse.admits(5)).toBe(true)
  fuse.failed(5, 5)
  expect(fuse.admits(6)).toBe(false)
  expect(told).toEqual(['failed', 'failed', 'failed'])
  fuse.hear(5, 10_000)
  expect(fuse.admits(5 + halfMinute)).toBe(true)
  fuse.answered(5 + halfMinute)
  expect(told.at(-1)).toBe('answered')

  const other = alone()
  other.hear(5, 0)
  expect(other.admits(1)).toBe(false)
  other.hear(0, 2)
  expect(other.admits(3)).toBe(true)
})
