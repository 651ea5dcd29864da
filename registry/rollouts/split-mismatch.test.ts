import { expect, test } from 'vitest'
import { noCounts } from './segments.ts'
import { readSplit } from './split-mismatch.ts'

const arms = (candidate: number, baseline: number, tosses = true) => ({
  candidate: { ...noCounts, requests: candidate, tosses: tosses ? candidate : 0 },
  baseline: { ...noCounts, requests: baseline, tosses: tosses ? baseline : 0 },
})

test('a candidate that got nothing of 5000 requests at 5 % is a broken split', () => {
  expect(readSplit(arms(0, 5000), 0.05)).toEqual({
    candidate: 0,
    expected: 250,
    total: 5000,
    isMismatch: true,
  })
})

test('what a coin does is none, nor is a small imbalance of millions', () => {
  expect(readSplit(arms(250, 4750), 0.05).isMismatch).toBe(false)
  expect(readSplit(arms(200, 4800), 0.05).isMismatch).toBe(false)
  expect(readSplit(arms(55_000, 945_000), 0.05).isMismatch).toBe(false)
  expect(readSplit(arms(0, 40), 0.05).isMismatch).toBe(false)
  expect(readSplit(arms(0, 0), 0.05).isMismatch).toBe(false)
})

test('too many for the candidate is one too, and so is an old deployment that still has its requests at 100 %', () => {
  expect(readSplit(arms(1000, 4000), 0.05).isMismatch).toBe(true)
  expect(readSplit(arms(700, 300), 1).isMismatch).toBe(true)
  expect(readSplit(arms(1000, 0), 1).isMismatch).toBe(false)
})

test('a visitor with a hundred requests and a cookie was tossed for once, and is no broken split', () => {
  const many = arms(29, 171, false)
  expect(readSplit(many, 0.05).isMismatch).toBe(false)
  expect(readSplit(arms(29, 171), 0.05).isMismatch).toBe(true)
  // Ten visitors with five hundred requests each: six times in ten none of them comes to the new version.
  expect(readSplit(arms(0, 5000, false), 0.05).isMismatch).toBe(false)
})
