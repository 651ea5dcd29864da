import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hostTool } from './host-tools.ts'
import { spreadFolders } from './spread-folder.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spread-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Null: this file system, or this host, has no such hint. */
async function hintsOf(path: string): Promise<string | null> {
  const lsattr = hostTool('lsattr')
  const said = lsattr && (await promisify(execFile)(lsattr, ['-d', path]).catch(() => null))
  return said ? (said.stdout.split(' ')[0] ?? null) : null
}

test('a folder has what is made below it kept apart, where the file system knows how', async () => {
  const before = await hintsOf(folder)
  await spreadFolders(folder)
  if (before === null || !(await isExt4(folder))) return
  expect(before).not.toContain('T')
  expect(await hintsOf(folder)).toContain('T')
  await mkdir(join(folder, 'build'))
  expect(await hintsOf(join(folder, 'build'))).not.toContain('T')
})

test('where there is no such folder, nothing happens', async () => {
  await expect(spreadFolders(join(folder, 'none'))).resolves.toBeUndefined()
})

async function isExt4(path: string): Promise<boolean> {
  const { stdout } = await promisify(execFile)('stat', ['-f', '-c', '%T', path])
  return /ext/.test(stdout)
}
