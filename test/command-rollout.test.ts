import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { run } from './support/command.ts'
import { startControlPlane } from './support/control-plane.ts'
import { checkout, plainEnv } from './support/platform.ts'

// What people do to a rollout, with the command as a process, against the API on a port. The tests play the worker and who leads.
const plane = await startControlPlane({ relay: true })
afterAll(() => plane.close())

const program = join(checkout, 'cli/atelier.mjs')
let app: string
let platformHome: string
beforeAll(async () => {
  platformHome = await mkdtemp(join(plane.home, 'platform-'))
  const api = `http://api.localhost:${plane.config.httpPort}`
  await writeFile(join(platformHome, 'atelier.json'), JSON.stringify({ api }))
  await writeFile(join(platformHome, 'admin-token'), `${await plane.token('admin')}\n`)
})
beforeEach(async () => {
  app = await plane.app()
  await plane.deployed(app, '1.0.0')
})

const atelier = (...args: string[]) =>
  run(process.execPath, [program, ...args, '--app', app], {
    cwd: platformHome,
    env: { ...plainEnv(), HOME: platformHome, ATELIER_HOME: platformHome },
  })

async function said(...args: string[]): Promise<string> {
  const result = await atelier(...args)
  expect(result).toMatchObject({ code: 0, stderr: '' })
  return result.stdout
}

describe('a rollout', () => {
  beforeEach(() => plane.rollout(app, '1.0.1'))

  test('is paused, resumed, promoted and aborted by name', async () => {
    expect(await said('pause', '-m', 'sale at noon')).toContain(`${app} 1.0.1 (v2) is paused at 5 %\n`)
    expect(await said('resume')).toBe(`${app} 1.0.1 (v2) goes on at 5 %\n`)
    expect(await said('promote', '25')).toBe(`${app} 1.0.1 (v2) has 25 % of the traffic; watch it: atelier status\n`)
    expect(await said('abort')).toContain(`${app} 1.0.1 (v2) is taken back; the old version has all traffic\n`)
    expect(await atelier('abort')).toMatchObject({ code: 1, stderr: expect.stringContaining('no rollout under way') })
  })

  test('is ended by promoting to 100 %, or by its version', async () => {
    expect(await said('promote', '1.0.1')).toBe(
      `${app} 1.0.1 (v2) is live at http://${app}.apps.localhost:${plane.config.httpPort}\n`,
    )
    expect(await said('promote', '100')).toContain('is live at')
  })

  test('is ended by a rollback', async () => {
    expect(await said('rollback')).toContain(`${app} 1.0.0 (v1) is live again`)
  })

  test('orders are told as JSON to programs', async () => {
    expect(JSON.parse(await said('pause', '--json'))).toMatchObject({ state: 'paused', percent: 5 })
    expect(JSON.parse(await said('abort', '--json'))).toMatchObject({
      percent: 0,
      deployment: { state: 'rolled_back' },
    })
  })
})

test('a lock says why to who meets it, and is lifted', async () => {
  expect(await atelier('lock')).toMatchObject({ code: 2, stderr: expect.stringContaining('--message') })
  expect(await said('lock', '-m', 'migrating')).toBe(`${app} is locked: migrating\nto lift it: atelier unlock\n`)
  expect(await atelier('redeploy')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('is locked by admin-all (migrating)'),
  })
  expect(await said('unlock')).toMatch(/is unlocked; it was locked by admin-all \d+ s ago: migrating\n$/)
  expect(await said('unlock')).toBe(`${app} was not locked\n`)
})
