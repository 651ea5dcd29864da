import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { request as plain } from 'node:http'
import { request as secure } from 'node:https'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { messageOf } from '../../../registry/errors.ts'
import { isExecutable } from '../../../sandbox/host-tools.ts'
import { type Check, ok, warn } from './check.ts'

const run = promisify(execFile)
const publicRegistry = 'https://registry.npmjs.org/'

export type Packages = {
  check: Check /** By the registry's clock; null when it did not answer. */
  now: Date | null
  host: string
}

/** Asks the registry that builds install from (the host's npm knows which) whether it is there. */
export async function checkPackages(env = process.env): Promise<Packages> {
  const { registry, cafile } = await askNpm(env)
  const { host } = new URL(registry)
  try {
    const { status, date } = await head(new URL('-/ping', registry), cafile)
    if (status < 500) return { check: ok('packages', `${host} answers`), now: date, host }
    return { check: unwell(host, `it answers ${status}`), now: date, host }
  } catch (thrown) {
    return { check: unwell(host, messageOf(thrown)), now: null, host }
  }
}

function unwell(host: string, why: string): Check {
  return warn(
    'packages',
    `${host} cannot be asked (${why}): builds that install packages fail`,
    'npm config set registry …, or give this machine a way there',
  )
}

async function askNpm(env: NodeJS.ProcessEnv): Promise<{ registry: string; cafile: string | null }> {
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder && !folder.includes('node_modules'))
  const npm = folders.map((folder) => join(folder, 'npm')).find(isExecutable)
  if (!npm) return { registry: publicRegistry, cafile: null }
  try {
    const { stdout } = await run(npm, ['config', 'get', 'registry', 'cafile'], { timeout: 10_000, cwd: '/' })
    const registry = /^registry=(https?:\/\/\S+)$/m.exec(stdout)?.[1] ?? publicRegistry
    return { registry: registry.replace(/\/?$/, '/'), cafile: /^cafile=(\/.*)$/m.exec(stdout)?.[1] ?? null }
  } catch {
    return { registry: publicRegistry, cafile: null } // as builds do
  }
}

function head(url: URL, cafile: string | null): Promise<{ status: number; date: Date | null }> {
  const request = url.protocol === 'https:' ? secure : plain
  const ca = cafile === null ? {} : { ca: readFileSync(cafile) }
  return new Promise((settle, failed) => {
    const asked = request(url, { method: 'HEAD', timeout: 5000, agent: false, ...ca }, (answer) => {
      answer.resume()
      const date = new Date(answer.headers.date ?? Number.NaN)
      settle({ status: answer.statusCode ?? 0, date: Number.isNaN(date.getTime()) ? null : date })
    })
    asked.once('timeout', () => asked.destroy(new Error('no answer within 5 s')))
    asked.once('error', failed)
    asked.end()
  })
}
