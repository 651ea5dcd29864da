import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findByVersion } from '../registry/deployments.ts'
import { rollBack } from '../registry/rollback.ts'
import { connect } from '../registry/sql.ts'
import type { Atelier } from '../test/support/atelier.ts'
import { type Row, repeat, seconds } from './measure.ts'

const runs = 11

/**
 * Registry write → the edge serves it, between two kept versions: of a static app, and of a Hono app whose host has to be started. Then the
 * whole `atelier rollback` command.
 */
export async function measureFlips(atelier: Atelier): Promise<Row[]> {
  const name = 'bench-hono'
  const versions = await keptVersions(atelier, name)
  const statics = await keptVersions(atelier, 'bench-static')
  const flips = await repeat(runs, (index) => flip(atelier, 'bench-static', statics[index % 2] ?? ''))
  const starts = await repeat(runs, (index) => flip(atelier, name, versions[index % 2] ?? ''))
  const commands = await repeat(runs, (index) =>
    seconds(async () => {
      const { code, stderr } = await atelier.cli(['rollback', versions[(index + 1) % 2] ?? '', '--app', name])
      if (code !== 0) throw new Error(stderr)
    }).then((value) => value * 1000),
  )
  return [
    { what: 'flip, registry write → edge serves it', values: flips, unit: 'ms', target: '≤ 100 ms' },
    { what: '  … of a server app, its host started on the way', values: starts, unit: 'ms' },
    { what: 'atelier rollback, whole command', values: commands, unit: 'ms', target: '≤ 500 ms' },
  ]
}

async function keptVersions(atelier: Atelier, name: string): Promise<string[]> {
  const { body } = await atelier.api('GET', `deploys?app=${name}&limit=10`)
  const { deployments }: { deployments: { version: string; state: string }[] } = JSON.parse(body)
  return deployments
    .filter(({ state }) => ['live', 'superseded', 'rolled_back'].includes(state))
    .map(({ version }) => version)
    .slice(0, 2)
    .reverse()
}

async function flip(atelier: Atelier, name: string, version: string): Promise<number> {
  const passwords: { atelier: string } = JSON.parse(await readFile(join(atelier.home, 'secrets/postgres.json'), 'utf8'))
  const sql = connect(
    `postgres://atelier:${passwords.atelier}@localhost/atelier?host=${join(atelier.home, 'run/pg')}`,
    { max: 1 },
  )
  const [target] = await findByVersion(sql, name, version)
  if (!target) throw new Error(`${name} keeps no ${version}`)
  await rollBack(sql, target, { by: 'bench' })
  const startedAt = performance.now()
  for (;;) {
    const { headers } = await atelier.get(name, '/')
    if (version.startsWith(String(headers['x-atelier-deployment']))) break
  }
  const took = performance.now() - startedAt
  await sql.end()
  return took
}
