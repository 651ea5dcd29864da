import type { Atelier } from '../test/support/atelier.ts'
import { type Row, repeat } from './measure.ts'

const runs = 7

/** How long a visitor has no answer after a kill -9: of an app (F2), and of the whole edge (F1). The other parts run on. */
export async function measureRecovery(atelier: Atelier): Promise<Row[]> {
  const app = await atelier.createApp('recovers')
  const repo = await atelier.clone(app)
  const server = `import { createServer } from 'node:http'
    createServer((request, response) => {
      if (request.url === '/end') process.kill(process.pid, 'SIGKILL')
      response.end('here')
    }).listen(process.env.PORT)`
  await repo.commit({ 'package.json': '{"type":"module","scripts":{"start":"node server.js"}}', 'server.js': server })
  await repo.push()
  const isHere = () =>
    atelier.get(app, '/').then(
      ({ status }) => status === 200,
      () => false,
    )
  const gap = async (kill: () => Promise<unknown>) => {
    await kill()
    const startedAt = performance.now()
    while (!(await isHere())) await new Promise((resolve) => setTimeout(resolve, 2))
    return performance.now() - startedAt
  }
  const apps = await repeat(runs, async () => {
    const took = await gap(() => atelier.get(app, '/end'))
    // An app that crashes again at once waits before its next start; this one is to have recovered.
    await repo.commit({
      'package.json': '{"type":"module","scripts":{"start":"node server.js"}}',
      note: String(Math.random()),
    })
    await repo.push('--push-option=canary=skip')
    return took
  })
  // Killed again and again it would wait longer each time.
  const edges = [await gap(() => atelier.kill('proxy'))]
  return [
    { what: 'kill -9 of an app → it answers again', values: apps, unit: 'ms', target: '≤ 1000 ms' },
    { what: 'kill -9 of the edge → it serves again', values: edges, unit: 'ms', target: '≤ 1000 ms' },
  ]
}
