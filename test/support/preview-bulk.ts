import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { FileStore } from '../../registry/bundle-store/file.ts'
import { collectBlobs, pruneBuilds } from '../../registry/retention.ts'
import { pruneSources } from '../../registry/sources.ts'
import type { Sql } from '../../registry/sql.ts'
import type { Atelier } from './atelier.ts'
import type { Forge, Hook } from './forge.ts'
import { connectToHome } from './platform-database.ts'
import { processesOf, socketsOf } from './processes.ts'

const app = 'crowded'
// Every so many is a process of its own, with a folder that stays; the others are files.
const everyServer = 10

/** What previews could leave behind: everything that grows with them, as far as nobody else makes it grow. */
type Traces = { rows: Record<string, number>; sockets: number; folders: string[]; stored: string[] }
/** Of all processes together, in MB; of all files but those of Postgres and the logs, in kB. */
type Weight = { memoryMb: number; diskKb: number }

/**
 * Opens so many pull requests, has them closed when all are live and what runs has gone to sleep, and expects nothing of them to be left. A few at a time,
 * so that what runs before it sleeps fits in memory.
 */
export async function openAndClose(
  atelier: Atelier,
  { forge, hook }: { forge: Forge; hook: Hook },
  { count, atOnce }: { count: number; atOnce: number },
): Promise<void> {
  const sql = await connectToHome(atelier.home)
  const soon = { timeout: 600_000, interval: 250 }
  const before = await traces(atelier, sql)
  // Among them may be one that proves the walls, as in the first seconds of a platform, and ends: what counts is who came later.
  const residents = new Set(running(atelier.home).map(({ pid }) => pid))
  const newcomers = () =>
    running(atelier.home)
      .filter(({ pid }) => !residents.has(pid))
      .map(({ command }) => command)
  const weights: Record<string, Weight> = { before: weigh(atelier.home) }
  const numbers = Array.from({ length: count }, (_, index) => index + 1)
  for (let first = 0; first < count; first += atOnce) {
    const some = numbers.slice(first, first + atOnce)
    for (const number of some) await forge.propose(number, filesOf(number))
    for (const number of some) expect(await forge.tell(hook, 'opened', number)).toBe(202)
    for (const number of some)
      await expect
        .poll(async () => (await atelier.get(`${app}-pr-${number}`, '/')).body, soon)
        .toBe(`preview ${number}`)
  }
  expect(await sql`select label from routes where app_id = ${app} and environment = 'preview'`).toHaveLength(count)

  // Idle: nothing of them runs, and all of them are there.
  weights['live'] = weigh(atelier.home)
  await expect.poll(newcomers, soon).toEqual([])
  weights['asleep'] = weigh(atelier.home)
  const awoken = numbers.find((number) => number % everyServer === 0) ?? 0
  expect((await atelier.get(`${app}-pr-${awoken}`, '/')).body).toBe(`preview ${awoken}`)
  expect(newcomers()).not.toEqual([])

  // Of every other one no webhook tells.
  for (const number of numbers) {
    forge.close(number)
    if (number % 2 === 0) expect(await forge.tell(hook, 'closed', number)).toBe(202)
  }
  await sql`update repo_links set poll_after = now() where app_id = ${app}`
  for (const number of numbers)
    await expect.poll(async () => (await atelier.get(`${app}-pr-${number}`, '/')).status, soon).toBe(404)
  for (const number of numbers) await expect.poll(() => forge.commentsOf(number).join(), soon).toContain('removed')

  // What is thrown away later is due now.
  await sql`update app_databases set created_at = now() - interval '1 day'`
  for (const _ of ['condemned', 'removed']) await tidyADayLater(sql, new FileStore(join(atelier.home, 'store')))
  await expect.poll(() => traces(atelier, sql), soon).toEqual(before)
  await expect.poll(newcomers, soon).toEqual([])
  weights['closed'] = weigh(atelier.home)
  console.log(`${count} previews: ${JSON.stringify({ ...weights, before: { ...before, ...weights['before'] } })}`)
  // What each process has once had, and keeps for the next.
  expect(grownBy(weights, 'memoryMb')).toBeLessThan(300)
  expect(grownBy(weights, 'diskKb')).toBeLessThan(1024)
}

function grownBy({ before, closed }: Record<string, Weight>, what: keyof Weight): number {
  return (closed?.[what] ?? 0) - (before?.[what] ?? 0)
}

async function tidyADayLater(sql: Sql, store: FileStore): Promise<void> {
  await sql`update builds set created_at = created_at - interval '1 hour' where app_id = ${app}`
  await sql`update condemned_sources set since = since - interval '25 hours'`
  await sql`update condemned_blobs set since = since - interval '25 hours'`
  await pruneBuilds(sql, store)
  await pruneSources(sql, store)
  await collectBlobs(sql, store)
}

function filesOf(number: number): Record<string, string> {
  const text = `preview ${number}`
  if (number % everyServer !== 0) return { 'index.html': text }
  return {
    'package.json': JSON.stringify({ name: 'crowded', type: 'module', main: 'server.js' }),
    'server.js': `import { createServer } from 'node:http'
import { writeFileSync } from 'node:fs'
writeFileSync(process.env.DATA_DIR + '/kept', 'x')
createServer((request, response) => response.end('${text}')).listen(process.env.PORT)`,
    'atelier.config.json': JSON.stringify({ data: true, deployments: { sleepAfterMin: 1 } }),
  }
}

async function traces({ home }: Atelier, sql: Sql): Promise<Traces> {
  const [rows] = await sql<Record<string, number>[]>`
    select (select count(*)::integer from routes where environment = 'preview') as routes,
           (select count(*)::integer from repo_heads) as heads,
           (select count(*)::integer from app_databases) as databases,
           (select count(*)::integer from builds where files_pruned_at is null) as builds,
           (select count(*)::integer from blob_refs) as blob_refs,
           (select count(*)::integer from deployments where state not in ('removed', 'cancelled', 'failed')) as deployments
  `
  return {
    rows: rows ?? {},
    sockets: socketsOf(home).filter((path) => !path.includes('/run/pg')).length,
    stored: await storedIn(home),
    folders: ['data', 'builds', 'git', 'run', 'edge/apps/crowded'].flatMap((name) => namesIn(home, name)),
  }
}

// Connections to Postgres come and go with what is asked of it.
function running(home: string): ReturnType<typeof processesOf> {
  return processesOf(home).filter(({ command }) => !command.startsWith('postgres'))
}

function namesIn(home: string, name: string): string[] {
  try {
    return readdirSync(join(home, name)).map((one) => `${name}/${one}`)
  } catch {
    return []
  }
}

async function storedIn(home: string): Promise<string[]> {
  const store = new FileStore(join(home, 'store'))
  return (await Promise.all(['blobs/', 'builds/', 'sources/'].map((prefix) => store.list(prefix)))).flat().sort()
}

function weigh(home: string): Weight {
  return { memoryMb: Math.round(memoryMb(home)), diskKb: Math.round(bytesBelow(home, ['postgres', 'log']) / 1024) }
}

function bytesBelow(folder: string, except: string[] = []): number {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(({ name }) => !except.includes(name))
      .map((one) => (one.isDirectory() ? bytesBelow(join(folder, one.name)) : lstatSync(join(folder, one.name)).size))
      .reduce((sum, one) => sum + one, 0)
  } catch {
    return 0 // it is gone by now
  }
}

/** What all processes of the platform hold that is theirs alone, or shared by so many as share it (Pss). */
function memoryMb(home: string): number {
  const kilobytes = processesOf(home).map(({ pid }) => {
    try {
      return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0)
    } catch {
      return 0
    }
  })
  return kilobytes.reduce((sum, one) => sum + one, 0) / 1024
}
