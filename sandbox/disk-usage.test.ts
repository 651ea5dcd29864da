import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { DiskAllowance, diskUsage } from './disk-usage.ts'

const folder = mkdtempSync(join(tmpdir(), 'atl-disk-'))
afterAll(() => execFileSync('/bin/rm', ['-rf', '--', folder]))

test('B4: what lies deeper than a path can be long is more than was allowed', async () => {
  expect(await diskUsage([folder], 1000)).toBe(0)
  const name = 'd'.repeat(200)
  execFileSync('/bin/sh', ['-c', 'for i in $(seq 25); do mkdir "$0" && cd -P "./$0"; done', name], { cwd: folder })
  expect(await diskUsage([folder], 1_000_000_000)).toBeGreaterThan(1_000_000_000)
  expect(await new DiskAllowance([folder], 1024).isExceeded()).toBe(true)
})
