import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import type { Config } from '../../../registry/config.ts'
import { AppError, messageOf } from '../../../registry/errors.ts'
import { refuseBusyPort } from '../port.ts'
import { type Check, fail, ok, warn } from './check.ts'

/** Whether the platform of this home runs, as far as this user can tell. */
export type RunningPlatform = { answers: 'yes' | 'unwell' | 'no'; pid: number | null }

export async function findPlatform(config: Config): Promise<RunningPlatform> {
  const status = await askHealth(config)
  const answers = status === 200 ? 'yes' : status === 503 ? 'unwell' : 'no'
  return { answers, pid: readPid(config.home) }
}

export function checkPlatform({ answers, pid }: RunningPlatform, { httpPort }: Config): Check {
  const who = pid === null ? '' : ` (process ${pid})`
  if (answers === 'yes') return ok('platform', `it runs${who} and answers on port ${httpPort}`)
  if (answers === 'unwell')
    return fail(
      'platform',
      `it runs${who} and its database does not answer`,
      'look at postgres below, and at its log: $ATELIER_HOME/log',
    )
  if (pid !== null)
    return fail(
      'platform',
      `process ${pid} runs and does not answer on port ${httpPort}`,
      'is ATELIER_HTTP_PORT the one it was started with? look at $ATELIER_HOME/log',
    )
  return warn('platform', 'it does not run', 'start it: npm start')
}

export async function checkPort({ answers }: RunningPlatform, { httpPort }: Config): Promise<Check> {
  if (answers !== 'no') return ok('port', `${httpPort} is the platform's`)
  try {
    await refuseBusyPort(httpPort)
    return ok('port', `${httpPort} is free`)
  } catch (thrown) {
    const [what = '', next = 'choose another with ATELIER_HTTP_PORT'] = messageOf(thrown).split('; ')
    if (thrown instanceof AppError) return fail('port', what, next)
    throw thrown
  }
}

function askHealth({ domain, httpPort }: Config): Promise<number | null> {
  return new Promise((settle) => {
    const headers = { host: `api.${domain}` }
    const asked = request({ host: '127.0.0.1', port: httpPort, path: '/health', headers, timeout: 3000 }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk.slice(0, 1000)
      })
      answer.once('end', () =>
        settle(text.includes('"ok":true') || text.includes('DATABASE_') ? (answer.statusCode ?? null) : null),
      )
    })
    asked.once('timeout', () => asked.destroy(new Error('no answer')))
    asked.once('error', () => settle(null)) // nobody there
    asked.end()
  })
}

function readPid(home: string): number | null {
  try {
    const { pid }: { pid?: unknown } = JSON.parse(readFileSync(join(home, 'atelier.json'), 'utf8'))
    return typeof pid === 'number' && runs(pid) ? pid : null
  } catch {
    return null // it never ran, or is another user's
  }
}

function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPERM'
  }
}
