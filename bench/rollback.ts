import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { type ClientRequest, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Atelier } from '../test/support/atelier.ts'
import { type Row, repeat, seconds } from './measure.ts'

const app = 'bench-rollback'
const runs = 11

/** The whole `atelier rollback` command between two versions of a fetch app, the target's host gone, or still alive because it drains. */
export async function measureRollbacks(atelier: Atelier): Promise<Row[]> {
  const repo = await atelier.clone(await atelier.createApp(app))
  const versions = await repeat(2, async (index) => {
    const version = await repo.commit({ 'package.json': '{"type":"module"}', 'index.js': saying(`version ${index}`) })
    // A rollout would keep the host of the first one.
    await repo.push('--push-option=canary=skip')
    return version
  })
  const deployments = await idsOf(atelier, versions)
  const turn = (index: number) => ({
    version: versions[index % 2] ?? '',
    deployment: deployments[index % 2] ?? '',
  })
  const gone = await repeat(runs, async (index) => {
    const { version, deployment } = turn(index)
    while (await hasHost(atelier, deployment)) await pause(5)
    return rollBack(atelier, version)
  })
  const held: ClientRequest[] = [await hold(atelier)]
  await rollBack(atelier, turn(runs).version)
  const alive = await repeat(runs, async (index) => {
    held.push(await hold(atelier))
    const { version, deployment } = turn(runs + 1 + index)
    if (!(await hasHost(atelier, deployment))) throw new Error(`the host of ${version} is gone`)
    return rollBack(atelier, version)
  })
  for (const stream of held) stream.destroy()
  const what = 'atelier rollback, whole command, host'
  return [
    { what: `${what} alive`, values: alive, unit: 'ms', target: '≤ 500 / 150 ms' },
    { what: `${what} gone`, values: gone, unit: 'ms', target: '≤ 1000 / 300 ms' },
  ]
}

function saying(text: string): string {
  return `const endless = () => new Response(new ReadableStream({ start: (stream) => stream.enqueue(new Uint8Array(1)) }))
    export default { fetch: ({ url }) => (url.endsWith('/hold') ? endless() : new Response('${text}')) }`
}

async function rollBack(atelier: Atelier, version: string): Promise<number> {
  const took = await seconds(async () => {
    const { code, stderr } = await atelier.cli(['rollback', version, '--app', app])
    if (code !== 0) throw new Error(stderr)
  })
  return 1000 * took
}

// A response that does not end keeps the host of what is live now alive while it drains.
async function hold(atelier: Atelier): Promise<ClientRequest> {
  const headers = { host: `${app}.apps.localhost` }
  const asked = request({ host: '127.0.0.1', port: atelier.port, path: '/hold', agent: false, headers }).end()
  asked.on('error', () => undefined) // it is cut in the end
  const [response] = await once(asked, 'response')
  await once(response, 'data')
  return asked
}

async function hasHost(atelier: Atelier, deployment: string): Promise<boolean> {
  const sockets = await readdir(join(atelier.home, 'run/i'))
  return sockets.some((name) => name.startsWith(deployment))
}

async function idsOf(atelier: Atelier, versions: string[]): Promise<string[]> {
  const { body } = await atelier.api('GET', `deploys?app=${app}&limit=10`)
  const { deployments }: { deployments: { id: string; version: string }[] } = JSON.parse(body)
  return versions.map((version) => deployments.find((deployment) => deployment.version === version)?.id ?? '')
}
