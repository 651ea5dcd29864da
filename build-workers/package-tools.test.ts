import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { archivedFile, endOfArchive } from './archive.ts'
import type { PackageManager } from './package-manager.ts'
import { fetchTool } from './package-tools.ts'

const scratch = await mkdtemp(join(tmpdir(), 'tools-'))
const packageJson = Buffer.from(JSON.stringify({ name: 'pnpm', bin: { pnpm: 'bin/pnpm.cjs' } }))
const tarball = gzipSync(
  Buffer.concat([
    archivedFile('package/package.json', packageJson),
    archivedFile('package/bin/pnpm.cjs', Buffer.from('#!/usr/bin/env node\n')),
    endOfArchive,
  ]),
)
const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
let asked: string[] = []
let promised = integrity

const registry = createServer((request, response) => {
  asked.push(request.url ?? '')
  const { port } = registry.address() as AddressInfo
  if (request.url === '/pnpm.tgz') return void response.writeHead(302, { location: '/moved.tgz' }).end()
  if (request.url === '/moved.tgz') return void response.end(tarball)
  if (!request.url?.startsWith('/pnpm/9')) return void response.writeHead(404).end()
  response.end(JSON.stringify({ dist: { tarball: `http://127.0.0.1:${port}/pnpm.tgz`, integrity: promised } }))
})
registry.listen(0, '127.0.0.1')
await once(registry, 'listening')
afterAll(async () => {
  registry.close()
  await rm(scratch, { recursive: true })
})
beforeEach(() => {
  asked = []
  promised = integrity
})

test('a package manager is fetched once, however many ask for it', async () => {
  const [one, two] = await Promise.all([fetchPnpm('9.0.0'), fetchPnpm('9.0.0')])
  expect(one).toEqual({ file: join(scratch, 'pnpm@9.0.0/bin/pnpm.cjs'), isScript: true })
  expect(two).toEqual(one)
  expect(await fetchPnpm('9.0.0')).toEqual(one)
  expect(asked).toEqual(['/pnpm/9.0.0', '/pnpm.tgz', '/moved.tgz'])
  expect(readFileSync(one.file, 'utf8')).toContain('node')
  expect(statSync(one.file).mode & 0o022).toBe(0)
})

test('bytes other than the registry promised are refused, and nothing of them stays', async () => {
  promised = `sha512-${Buffer.alloc(64).toString('base64')}`
  await expect(fetchPnpm('9.0.1')).rejects.toMatchObject({
    code: 'INSTALL_FAILED',
    message: 'install failed: pnpm@9.0.1 cannot be fetched: the registry sent other bytes than it promised',
  })
  expect(existsSync(join(scratch, 'pnpm@9.0.1'))).toBe(false)
  expect((await readdir(scratch)).filter((name) => name.startsWith('.'))).toEqual([])
})

test('bytes other than packageManager demands are refused', async () => {
  const hex = createHash('sha256').update(tarball).digest('hex')
  await expect(fetchPnpm('9.0.2', `sha256.${hex.replace(/./g, '0')}`)).rejects.toThrow(
    'packageManager in package.json demands',
  )
  await expect(fetchPnpm('9.0.2', `sha256.${hex}`)).resolves.toMatchObject({ isScript: true })
})

test('a version nobody has published is a plain sentence', async () => {
  await expect(fetchPnpm('8.0.0')).rejects.toThrow(
    /^install failed: pnpm@8\.0\.0 cannot be fetched: 127\.0\.0\.1:\d+ answered 404$/,
  )
})

function fetchPnpm(version: string, digest: string | null = null) {
  const { port } = registry.address() as AddressInfo
  const npm = {
    registry: `http://127.0.0.1:${port}/`,
    cafile: null,
    extraCa: null,
    proxies: { http: null, https: null },
  }
  const manager: PackageManager = {
    name: 'pnpm',
    isBerry: false,
    version,
    digest,
    ownProgram: null,
    lockfile: 'pnpm-lock.yaml',
    notes: [],
  }
  return fetchTool(manager, { toolsDir: scratch, npm })
}
