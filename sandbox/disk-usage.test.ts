import { execFileSync } from 'node:child_process'
import { linkSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { DiskAllowance, diskUsage } from './disk-usage.ts'

const folder = mkdtempSync(join(tmpdir(), 'atl-disk-'))
afterAll(() => execFileSync('/bin/rm', ['-rf', '--', folder]))

test('one folder of many files is counted whole, and hard links once', async () => {
  const many = mkdtempSync(join(tmpdir(), 'atl-disk-'))
  for (let n = 0; n < 1000; n += 1) writeFileSync(join(many, `file-${n}`), 'x')
  for (let n = 0; n < 1000; n += 1) linkSync(join(many, 'file-0'), join(many, `link-${n}`))
  const { blocks } = statSync(join(many, 'file-0'))
  expect(await diskUsage([many], 1_000_000_000)).toBe(1000 * blocks * 512)
  expect(await diskUsage([many], 100 * blocks * 512)).toBeLessThan(110 * blocks * 512)
  rmSync(many, { recursive: true })
})

test('B4: what lies deeper than a path can be long is more than was allowed', async () => {
  expect(await diskUsage([folder], 1000)).toBe(0)
  const name = 'd'.repeat(200)
  execFileSync('/bin/sh', ['-c', 'for i in $(seq 25); do mkdir "$0" && cd -P "./$0"; done', name], { cwd: folder })
  expect(await diskUsage([folder], 1_000_000_000)).toBeGreaterThan(1_000_000_000)
  expect(await new DiskAllowance([folder], 1024).isExceeded()).toBe(true)
})
