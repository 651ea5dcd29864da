import { setImmediate as nextTurn } from 'node:timers/promises'
import { findByVersion } from '../registry/deployments.ts'
import { rollBack } from '../registry/rollback.ts'
import type { Sql } from '../registry/sql.ts'
import { Atelier } from '../test/support/atelier.ts'
import { ask } from '../test/support/http.ts'
import { type Row, repeat } from './measure.ts'
import { settings } from './settings.ts'

const app = 'bench-flip'
// A proxy may have several processes on its port, and a new connection comes to any of them: this many in a row leave none out.
const inARow = 16

/**
 * Registry write → every one of three edges serves it, on machines of their own as far as they know, between two kept versions of a site.
 * The time is that of the first answer after which no edge gave another old one.
 */
export async function measureFlips(): Promise<Row[]> {
  await using atelier = await Atelier.startApart({ proxies: 3 })
  const { platform } = atelier
  const repo = await atelier.clone(await atelier.createApp(app))
  const versions = await repeat(2, async (index) => {
    const version = await repo.commit({ 'index.html': `version ${index}` })
    await repo.push()
    return version
  })
  await using database = closing(await platform.openDatabase())
  const flips = await repeat(settings.flips, (index) => flip(database.sql, platform.ports, versions[index % 2] ?? ''))
  return [
    {
      what: `flip, registry write → all of 3 edges serve it, p99 of ${settings.flips}`,
      values: flips,
      unit: 'ms',
      percentile: 99,
      target: '≤ 100 / 25 ms',
    },
  ]
}

async function flip(sql: Sql, ports: number[], version: string): Promise<number> {
  const [target] = await findByVersion(sql, app, version)
  if (!target) throw new Error(`${app} keeps no ${version}`)
  await rollBack(sql, target, { by: 'bench' })
  const writtenAt = performance.now()
  const seenAt = await Promise.all(ports.map((port) => whenServed(app, port, version)))
  return Math.max(...seenAt) - writtenAt
}

/** When this version was first among the answers after which no other one came. */
export async function whenServed(app: string, port: number, version: string): Promise<number> {
  let since = 0
  for (let seen = 0; seen < inARow; await nextTurn()) {
    const { headers } = await ask(port, `${app}.apps.localhost`, '/', { method: 'HEAD' })
    const isNew = version.startsWith(String(headers['x-atelier-deployment']))
    if (isNew && seen === 0) since = performance.now()
    seen = isNew ? seen + 1 : 0
  }
  return since
}

function closing(sql: Sql) {
  return { sql, [Symbol.asyncDispose]: () => sql.end() }
}
