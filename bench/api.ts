import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { create } from 'tar'
import type { Atelier } from '../test/support/atelier.ts'
import { deployed } from './compare.ts'
import { fetchApp } from './edge.ts'
import { type Row, repeat, seconds } from './measure.ts'
import { type PacedResult, pacedLatency } from './paced-load.ts'
import { settings } from './settings.ts'

const app = 'bench-api'
const deployments = 10_000
const rate = 500

/** The API as a client meets it, through the proxy: how pages of a long list, answers under load, and the first line of a deployment take. */
export async function measureApi(atelier: Atelier): Promise<Row[]> {
  const target = await deployed(atelier, app, fetchApp)
  const first = await measureFirstLine(atelier)
  await fill(atelier)
  return [...(await measurePages(atelier)), ...(await measureUnderLoad(atelier, target.host ?? '')), first]
}

// As rows: making ten thousand deployments would take hours.
async function fill(atelier: Atelier): Promise<void> {
  const sql = await atelier.platform.openDatabase()
  await sql`
    insert into deployments (
      id, app_id, route_id, number, version, environment, branch, label, source, input_sha256, state, state_by, created_at, created_by
    )
    select 'b' || lpad(n::text, 11, '0'), ${app}, null, 1000 + n, md5(n::text) || '00000000', 'production', 'main', ${app}, 'git', '', 'superseded',
           'bench', now() - n * interval '1 minute', 'bench'
    from generate_series(1, ${deployments}) n
  `
  await sql`analyze deployments`
  await sql.end()
}

async function measurePages(atelier: Atelier): Promise<Row[]> {
  const times: number[] = []
  let cursor: string | null = null
  let seen = 0
  do {
    const query: string = cursor === null ? '' : `&cursor=${cursor}`
    let body = ''
    const took = await seconds(async () => {
      body = (await atelier.api('GET', `deploys?app=${app}&limit=200${query}`)).body
    })
    times.push(took * 1000)
    const page: { deployments: unknown[]; next: string | null } = JSON.parse(body)
    seen += page.deployments.length
    cursor = page.next
  } while (cursor !== null)
  if (seen < deployments) throw new Error(`${seen} deployments came`)
  const what = `a page (200) of ${deployments} deployments`
  return [
    { what: `${what}, p50`, values: times, unit: 'ms', target: '≤ 50 ms' },
    { what: `${what}, p99`, values: times, unit: 'ms', percentile: 99, target: '≤ 50 ms' },
  ]
}

/** At a constant rate, while the edge serves as much to visitors; beside a bare Node server that says the same, by turns. */
async function measureUnderLoad(atelier: Atelier, host: string): Promise<Row[]> {
  const path = `/api/platform/apps/${app}`
  const { body } = await atelier.api('GET', `apps/${app}`)
  const bare = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
  }).listen(0, '127.0.0.1')
  await once(bare, 'listening')
  const headers = { authorization: `Bearer ${await atelier.platform.adminToken()}` }
  const common = { path, rate, connections: 32, seconds: settings.seconds }
  const sides = [
    { ...common, port: atelier.port, host: `api.localhost:${atelier.port}`, headers },
    { ...common, port: (bare.address() as AddressInfo).port, host: 'localhost' },
  ]
  const results: PacedResult[][] = [[], []]
  try {
    await Promise.all(sides.map((side) => pacedLatency({ ...side, seconds: 2 })))
    await repeat(settings.rounds * 2, async (turn) => {
      const side = sides[turn % 2]
      if (!side) return
      const visitors = pacedLatency({
        port: atelier.port,
        host,
        path: '/',
        rate,
        connections: 32,
        seconds: side.seconds,
      })
      const [asked] = await Promise.all([pacedLatency(side), visitors])
      results[turn % 2]?.push(asked)
    })
  } finally {
    bare.close()
    bare.closeAllConnections()
  }
  const [mine = [], theirs = []] = results
  const row = (what: string, of: keyof PacedResult): Row => ({
    what,
    values: mine.map((one) => one[of]),
    unit: 'ms',
    rival: { what: 'bare Node server', values: theirs.map((one) => one[of]) },
  })
  return [
    { ...row(`API, ${rate} req/s beside ${rate} of visitors, p99`, 'p99'), target: '≤ 50 ms' },
    row('  … p50', 'p50'),
    row('  … how late the client asked, p99', 'late99'),
  ]
}

async function measureFirstLine(atelier: Atelier): Promise<Row> {
  const folder = await atelier.directory()
  await writeFile(join(folder, 'index.html'), 'hello')
  const archive = await buffer(create({ cwd: folder, gzip: true }, ['.']))
  const authorization = `Bearer ${await atelier.platform.adminToken()}`
  const values = await repeat(11, async () => {
    const startedAt = performance.now()
    const asked = request({
      ...{ host: '127.0.0.1', port: atelier.port, method: 'POST', agent: false },
      path: '/api/platform/deploy?app=bench-lines&canary=skip',
      headers: { host: `api.localhost:${atelier.port}`, authorization, 'content-type': 'application/gzip' },
    })
    asked.end(archive)
    const [response] = await once(asked, 'response')
    await once(response, 'data')
    const took = performance.now() - startedAt
    response.resume()
    await once(response, 'end')
    await pause(50)
    return took
  })
  return { what: 'first line of a deployment, by an upload', values, unit: 'ms', percentile: 99, target: '≤ 300 ms' }
}
