import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../registry/apps.ts'
import { createDatabase, type TestDatabase } from '../test/support/database.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { basic, clientOf, pushHead } from './test-client.ts'
import { startTestGateway, type TestGateway } from './test-gateway.ts'
import {
  commitOf,
  type Entry,
  type Packed,
  packed,
  packedChain,
  packedZeros,
  packOf,
  shaOf,
  shaOfZeros,
  treeOf,
} from './test-pack.ts'
import { makeRepo } from './test-repo.ts'

// Little that becomes much: row G11 of the threat table. Every limit is the default but the time to unpack, which is shortened.

const megabyte = 1_048_576
const gigabyte = 1024 * megabyte
const path = '/taken.git/git-receive-pack'

let database: TestDatabase
let gateway: TestGateway
let client: ReturnType<typeof clientOf>
let headers: Record<string, string>

beforeAll(async () => {
  database = await createDatabase()
  gateway = await startTestGateway(database, { asProcess: { ATELIER_PUSH_UNPACK_SEC: '4' } })
  client = clientOf(gateway)
  headers = { authorization: basic(gateway.secret) }
  await createApp(database.sql, { id: 'taken', by: 'test' })
})
afterEach(async () => {
  expect(gateway.isRunning()).toBe(true)
  await expect.poll(() => gateway.gitProcesses()).toEqual([])
  const objects = () => readdir(join(gateway.repository('taken'), 'objects')).catch(() => [])
  await expect.poll(async () => (await objects()).filter((name) => name.startsWith('tmp_'))).toEqual([])
  expect(await gateway.refs('taken').catch(() => ({}))).toEqual({})
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

describe('G11 what unfolds without end is refused within 30 s and 512 MB', () => {
  test('G11: 10 MB of gzip that are 10 GB', async () => {
    // Members of gzip may follow one another, and are one stream.
    const zeros = gzipSync(Buffer.alloc(64 * megabyte))
    const bomb = Buffer.concat(Array.from({ length: 160 }, () => zeros))
    const heads = [
      pushHead('1'.repeat(40)),
      Buffer.concat([pushHead('1'.repeat(40)), Buffer.from('PACK')]),
      packet('x'),
    ]
    for (const head of heads) {
      await refusedQuickly(Buffer.concat([gzipSync(head), bomb]), { 'content-encoding': 'gzip' })
    }
    const asked = Buffer.concat([gzipSync(Buffer.concat([packet('want x'), flushPacket])), bomb])
    const { status } = await measured(() =>
      client.send('POST', '/taken.git/git-upload-pack', {
        headers: { ...headers, 'content-encoding': 'gzip' },
        body: asked,
      }),
    )
    expect([0, 200, 400]).toContain(status)
  })

  test('G11: a blob of 5 GB of zeros', async () => {
    expect(await refusedQuickly(pushOf([packedZeros(5 * gigabyte)], [{ name: 'zeros', sha: '1'.repeat(40) }]))).toMatch(
      /ng refs\/heads\/main git needs more than 4 s/,
    )
  })

  test('G11: files of more than a gigabyte in one commit', async () => {
    const size = 32 * megabyte
    const sha = shaOfZeros(size)
    const files = Array.from({ length: 33 }, (_, index) => ({ name: String(index + 10), sha }))
    expect(await refusedQuickly(pushOf([packedZeros(size)], files))).toMatch(
      /ng refs\/heads\/main the files are more than 1024 MB, this server's limit \(ATELIER_CHECKOUT_MAX_MB\)/,
    )
  })

  test('G11: 100,000 refs', async () => {
    const updates = Array.from({ length: 100_000 }, (_, index) =>
      packet(
        `${'0'.repeat(40)} ${'1'.repeat(40)} refs/heads/b${index}${index === 0 ? '\0report-status side-band-64k' : ''}`,
      ),
    )
    const body = Buffer.concat([...updates, flushPacket])
    expect(await refusedQuickly(body, { 'content-type': 'application/x-git-receive-pack-request' })).toContain(
      '\x03This push updates more refs than Atelier takes at once (ATELIER_PUSH_MAX_REFS).',
    )
  })

  test('G11: git is told of too many refs in a sentence, be they a hundred or some thousand', async () => {
    await using repo = await makeRepo(gateway.url('refs'))
    const sha = await repo.commit({ a: '1' })
    for (const [count, sentence] of [
      [101, '101 refs in one push are more than the 100 Atelier takes'],
      [4_500, 'This push updates more refs than Atelier takes at once'],
    ] as const) {
      const lines = Array.from(
        { length: count },
        (_, index) => `create refs/heads/n${count}-${'x'.repeat(200)}${index} ${sha}`,
      )
      await writeFile(join(repo.path, 'refs'), `${lines.join('\n')}\n`)
      await repo.git('-c', 'alias.mk=!git update-ref --stdin < refs', 'mk')
      const pushed = await repo.push(`refs/heads/n${count}-*`)
      expect(pushed.code).not.toBe(0)
      expect(pushed.stderr).toContain(sentence)
    }
  })

  test('G11: a deep chain of differences', async () => {
    const size = 1000
    const chain = packedChain(packed('blob', Buffer.alloc(size)), size, 100_000)
    expect(await refusedQuickly(pushOf(chain, []))).toMatch(/ng refs\/heads\/main git needs more than 4 s/)
  })

  test('G11: a difference to a gigabyte', async () => {
    for (const size of [gigabyte, 120 * megabyte]) {
      expect(await refusedQuickly(pushOf(packedChain(packedZeros(size), size, 40), []))).toMatch(
        /ng refs\/heads\/main (unpacker error|git needs more than 4 s)/,
      )
    }
  })

  test('G11: a pack that says it holds four thousand million objects', async () => {
    const body = Buffer.concat([pushHead('1'.repeat(40)), packOf([], 0xffff_fff0)])
    expect(await refusedQuickly(body)).toMatch(/ng refs\/heads\/main unpacker error/)
  })

  const digits = [...'0123456789']
  const files = digits.map((name): Entry => ({ mode: '100644', name, sha: shaOf('blob', Buffer.from('x')) }))

  test.each<[string, Entry[], string]>([
    ['files', files, '50000 files'],
    ['folders in which there is nothing', [], '50000 folders'],
  ])('G11: a tree of trees that unfolds to %s without end', async (_what, leaf, sentence) => {
    const trees = [treeOf(leaf)]
    for (let depth = 0; depth < 20; depth++) {
      const sha = shaOf('tree', trees.at(-1) ?? Buffer.alloc(0))
      trees.push(treeOf(digits.map((name) => ({ mode: '40000', name, sha }))))
    }
    const objects = [packed('blob', Buffer.from('x')), ...trees.map((tree) => packed('tree', tree))]
    expect(await refusedQuickly(pushOfTree(objects, trees.at(-1) ?? Buffer.alloc(0)))).toContain(
      `ng refs/heads/main more than ${sentence}, this server's limit (ATELIER_CHECKOUT_MAX_FILES)`,
    )
  })

  test('G11: folders that are 100,000 deep', async () => {
    const trees = [treeOf([])]
    for (let depth = 0; depth < 100_000; depth++) {
      trees.push(treeOf([{ mode: '40000', name: 'd', sha: shaOf('tree', trees.at(-1) ?? Buffer.alloc(0)) }]))
    }
    const objects = trees.map((tree) => packed('tree', tree))
    expect(await refusedQuickly(pushOfTree(objects, trees.at(-1) ?? Buffer.alloc(0)))).toMatch(/ng refs\/heads\/main /)
  })

  async function refusedQuickly(body: Buffer, more: Record<string, string> = {}): Promise<string> {
    const answer = await measured(() => client.send('POST', path, { headers: { ...headers, ...more }, body }))
    expect(answer.text).not.toContain('ok refs/heads/main')
    return answer.text
  }
})

test('G11: what is within the limits is taken', async () => {
  await using repo = await makeRepo(gateway.url('within'))
  await writeFile(join(repo.path, 'zeros.bin'), Buffer.alloc(64 * megabyte))
  await repo.commit(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`${index % 20}/${index}`, 'x'])))
  expect(await repo.push('main')).toMatchObject({ code: 0 })
})

/** Runs an exchange while it looks at the memory of the gateway and of its gits. */
async function measured(exchange: () => Promise<{ status: number; text: string }>) {
  let isOver = false
  let most = 0
  const watching = (async () => {
    while (!isOver) {
      const pids = [gateway.pid(), ...(await gateway.gitProcesses()).map((line) => Number(line.split(' ')[0]))]
      most = Math.max(most, ...(await Promise.all(pids.map(mostMemoryMb))))
    }
  })()
  const startedAt = performance.now()
  const answer = await exchange().catch(() => ({ status: 0, text: '' }))
  const tookMs = performance.now() - startedAt
  isOver = true
  await watching
  expect(tookMs).toBeLessThan(30_000)
  expect(most).toBeLessThan(512)
  return answer
}

// proc(5): the peak resident set size.
async function mostMemoryMb(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(String)
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024
}

function pushOf(objects: Packed[], files: { name: string; sha: string }[]): Buffer {
  const tree = treeOf(files.map((file) => ({ mode: '100644', ...file })))
  // Differences name the object before them by its distance.
  return pushOfTree([...objects, packed('tree', tree)], tree)
}

function pushOfTree(objects: Packed[], root: Buffer): Buffer {
  const commit = commitOf(shaOf('tree', root))
  return Buffer.concat([pushHead(shaOf('commit', commit)), packOf([...objects, packed('commit', commit)])])
}
