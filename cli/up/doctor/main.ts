import { existsSync } from 'node:fs'
import { type Config, readConfig } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { paint, print, printJson } from '../../output.ts'
import { checkAppsDatabase } from './apps-database.ts'
import { type Check, fail, ok } from './check.ts'
import { checkClock, type Reading } from './clock.ts'
import { checkDatabase } from './database.ts'
import { checkDisk, checkHome, checkOpenFiles, checkSecrets } from './home.ts'
import { checkNames } from './names.ts'
import { checkPackages } from './packages.ts'
import { checkPlatform, checkPort, findPlatform } from './platform.ts'
import { checkGit, checkNode } from './programs.ts'
import { checkQueue, checkStore } from './services.ts'
import { checkControlGroups, checkIsolation } from './walls.ts'

/**
 * `atelier doctor`: looks at this machine as the platform would, whether that runs, ran or never did. Resolves to whether nothing fails;
 * changes nothing, but for one file that it puts into the store and removes.
 */
export async function doctor({ json = false }: { json?: boolean }): Promise<boolean> {
  const checks = await examine()
  if (json) printJson({ ok: checks.every(({ state }) => state !== 'fail'), checks })
  else for (const check of checks) show(check)
  return checks.every(({ state }) => state !== 'fail')
}

async function examine(): Promise<Check[]> {
  const { config, settings } = readSettings()
  const asked = new Date()
  const [running, git, isolation, database, queue, store, names, packages] = await Promise.all([
    findPlatform(config),
    checkGit(),
    checkIsolation(config),
    checkDatabase(config),
    checkQueue(config),
    checkStore(config, { isMade: existsSync(config.home) }),
    checkNames(config),
    checkPackages(),
  ])
  const port = await checkPort(running, config)
  const apps = await checkAppsDatabase(config, { isUp: running.pid !== null || running.answers !== 'no' })
  const clocks: Reading[] = [
    ...(database.now ? [{ of: 'Postgres', now: database.now, here: asked }] : []),
    ...(packages.now ? [{ of: packages.host, now: packages.now, here: asked }] : []),
  ]
  return [
    ...[settings, checkNode(), git],
    ...[isolation, checkControlGroups(), checkOpenFiles()],
    ...[checkHome(config), ...checkSecrets(config), checkDisk(config)],
    ...[checkPlatform(running, config), port, ...names, checkClock(clocks)],
    ...[...database.checks, ...(apps ? [apps] : []), queue, store, packages.check],
  ]
}

// With settings that cannot be read the rest is looked at as if there were none.
function readSettings(): { config: Config; settings: Check } {
  try {
    const given = Object.keys(process.env).filter((name) => name.startsWith('ATELIER_') && !/LAUNCHED/.test(name))
    const what = given.length > 0 ? `${given.sort().join(', ')} set, the rest by default` : 'all by default'
    return { config: readConfig(process.env), settings: ok('settings', what) }
  } catch (thrown) {
    const { ATELIER_HOME, HOME, XDG_STATE_HOME } = process.env
    const config = readConfig({ ATELIER_HOME, HOME, XDG_STATE_HOME })
    return { config, settings: fail('settings', messageOf(thrown), 'see docs/settings.md') }
  }
}

const styles = { ok: 'green', warn: 'yellow', fail: 'red' } as const
const nameWidth = 16

function show({ name, state, what, next, details = [] }: Check): void {
  print(`${paint(styles[state], state.padEnd(4))}  ${name.padEnd(nameWidth)}${what}`)
  const below = ' '.repeat(6 + nameWidth)
  if (state !== 'ok') for (const detail of details.slice(0, 8)) print(paint('dim', `${below}- ${detail}`))
  if (state !== 'ok' && details.length > 8)
    print(paint('dim', `${below}- and ${details.length - 8} more (--json shows all)`))
  if (next) print(`${below}→ ${next}`)
}
