import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { EncodingMemory } from './encodings.ts'

test('builds of one app that end at once remember what one of them made, whole, and none of them fails', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'atl-encodings-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'app', 'encodings.json')
  const builds = Array.from({ length: 20 }, (_, number) => String(number).repeat(64).slice(0, 64))
  const memories = await Promise.all(builds.map(() => EncodingMemory.open(path)))
  await Promise.all(memories.map((memory, at) => memory.keep([{ sha256: builds[at] ?? '', forms: [], isFinal: true }])))

  const kept = await EncodingMemory.open(path)
  expect(builds.filter((sha256) => kept.recall(sha256))).toHaveLength(1)
  expect(await readdir(join(folder, 'app'))).toEqual(['encodings.json'])
})
