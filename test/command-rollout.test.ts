import { spawn } from 'node:child_process'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { appendAppLog } from '../registry/app-logs.ts'
import { renewLease, reportRoutesSeen } from '../registry/edges.ts'
import { keepReasons } from '../registry/rollback-reasons.ts'
import { endRollout } from '../registry/rollout.ts'
import { revertRollout } from '../registry/rollout-ends.ts'
import { reportRollout } from '../registry/rollout-reports.ts'
import { readRoutesSeen } from '../registry/routes.ts'
import { run } from './support/command.ts'
import { beginRollout, startControlPlane } from './support/control-plane.ts'
import { checkout, plainEnv } from './support/platform.ts'
import { counted, reportOf } from './support/rollout.ts'

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

const env = () => ({ ...plainEnv(), HOME: platformHome, ATELIER_HOME: platformHome })
const atelier = (...args: string[]) =>
  run(process.execPath, [program, ...args, '--app', app], { cwd: platformHome, env: env() })

/** The same with a terminal of util-linux before it. */
atelier.onTerminal = (...args: string[]) => {
  const line = [process.execPath, program, ...args, '--app', app].map((word) => `'${word}'`).join(' ')
  const child = spawn('script', ['-qefc', line, '/dev/null'], { cwd: platformHome, env: { ...env(), TERM: 'xterm' } })
  let shown = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text
  })
  return { shown: () => shown, code: new Promise((resolve) => child.once('close', resolve)) }
}

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

  test('that is aborted while a proxy that had its visitors is cut off says so', async () => {
    const { snapshot } = await readRoutesSeen(plane.sql)
    await renewLease(plane.sql, 'cut off')
    await reportRoutesSeen(plane.sql, 'cut off', snapshot ?? '')
    await plane.sql`
      insert into route_bins (route_id, deployment_id, edge_id, boot_id, turn, at, requests, errors, latency)
      select route_id, from_deployment, 'cut off', 'boot', 0, now(), 10, 0, ''
      from rollouts
      where app_id = ${app}
    `
    await plane.sql`update edges set seen_at = now() - interval '1 minute' where id = 'cut off'`
    expect(await said('abort')).toContain(
      `${app} 1.0.1 (v2) is taken back; 1 proxy has not said so yet and may still send visitors to it; see: atelier status\n`,
    )
    await plane.sql`delete from edges where id = 'cut off'`
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

  test('takes no order that was meant for the one before', async () => {
    await plane.rollout(app, '1.0.2')
    for (const command of [['promote', '100'], ['abort'], ['pause'], ['resume']])
      expect(await atelier(...command, '--of', 'v2')).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(`the rollout of ${app} under way is that of 1.0.2 (v3), not of v2`),
      })
    expect(await said('promote', '25', '--of', 'v3')).toContain('1.0.2 (v3) has 25 % of the traffic')
    expect(await said('abort', '--of', '1.0.2')).toContain('1.0.2 (v3) is taken back')
  })

  test('orders are told as JSON to programs', async () => {
    expect(JSON.parse(await said('pause', '--json'))).toMatchObject({ state: 'paused', percent: 5 })
    expect(JSON.parse(await said('abort', '--json'))).toMatchObject({
      percent: 0,
      deployment: { state: 'rolled_back' },
    })
  })
})

describe('the status of an app', () => {
  const edge = 'edge'
  beforeEach(() => renewLease(plane.sql, edge))

  test('has both versions side by side, the evidence against its bar, the time left and what to type', async () => {
    const rollout = await plane.rollout(app, '1.0.1')
    const ms = (one: number) => Array.from({ length: 20 }, () => one)
    await reportRollout(plane.sql, edge, [
      reportOf(rollout, 1, {
        segments: [
          counted(0, 'candidate', { requests: 68, errorRequests: 4, timedRequests: 20 }, ms(12)),
          counted(0, 'baseline', { requests: 1290, errorRequests: 1, timedRequests: 20 }, ms(40)),
        ],
      }),
    ])
    const reading = { lnEvidence: Math.log(30), lnBar: Math.log(750), isMaterial: true }
    const verdict = { numbers: { errors: reading, latency: null }, remarks: ['4xx answers 3/68 vs 0/1290'] }
    await plane.sql`
      update rollouts
      set verdict = ${plane.sql.json(verdict)},
          sentence = 'observing 5 %: 48 of 300 s',
          active_sec = 48
      where id = ${rollout.id}
    `
    const lines = (await said('status')).split('\n').map((line) => line.trimEnd())
    const from = lines.findIndex((line) => line.startsWith(`${app} 1.0.1 (v2)`))
    expect(lines.slice(from)).toEqual([
      `${app} 1.0.1 (v2) has 5 % of the traffic, 1.0.0 (v1) the rest`,
      '  [5 %] → 25 % → 50 % → 100 %   observing, 4 min 12 s left of this stage, 19 min 12 s until all is over',
      '                     new 1.0.1         old 1.0.0',
      '  requests                  68              1290',
      '  errors             4 (5.9 %)       1 (0.078 %)',
      '  P50                    12 ms             40 ms',
      '  P95                    12 ms             40 ms',
      '  errors    ████████████░░░░░░░░░░░░  evidence 30 of 750',
      '  observing 5 %: 48 of 300 s',
      '  4xx answers 3/68 vs 0/1290',
      '  on at once: atelier promote 25 --of v2; stop the clock: atelier pause; back: atelier abort --of v2',
      '',
    ])
    expect(JSON.parse(await said('status', '--json'))).toMatchObject({ apps: [{ rollout: { percent: 5 } }] })
  })

  test('says why a version was taken back, and what to type', async () => {
    const rollout = await plane.rollout(app, '1.0.1')
    const failingPaths = [{ arm: 'candidate' as const, path: '/cart', status: 500, count: 4 }]
    const segments = [counted(0, 'candidate', { requests: 68, errorRequests: 4 })]
    await reportRollout(plane.sql, edge, [reportOf(rollout, 1, { segments, failingPaths })])
    const line = { appId: app, deploymentId: rollout.toDeployment, version: '1.0.1', at: new Date() }
    const wrote = ['TypeError: cart is not a function', '    at total (/app/cart.js:12:7)']
    await appendAppLog(
      plane.sql,
      wrote.map((text) => ({ ...line, stream: 'stderr' as const, text })),
    )
    const commits = [{ sha: 'c'.repeat(40), subject: 'Add \u001b[2Jthe cart' }]
    await plane.sql`update deployments set commits = ${plane.sql.json(commits)} where id = ${rollout.toDeployment}`
    const sentence = 'errors 4/68 vs 1/1290 (evidence 3058, bar 750)'
    await plane.sql.begin(async (tx) => {
      const open = { ...rollout }
      await revertRollout(tx, open, { to: 'failed', by: 'platform', sentence, errorCode: 'ROLLED_BACK' })
    })
    const told = await said('status')
    expect(told).toContain(`automatic deployments of ${app} wait: 1.0.1 (v2) was taken back: ${sentence}`)
    expect(told).toMatch(
      /1\.0\.1 \(v2\) was taken back: errors 4\/68 vs 1\/1290 \(evidence 3058, bar 750\) \(\d+ s ago\); not all proxies have followed yet\n/,
    )
    await plane.sql.begin((tx) => endRollout(tx, rollout, { state: 'aborted', sentence, by: 'platform' }))
    expect(await said('status')).toContain('s ago); 1.0.0 (v1) has all traffic\n')
    expect(told).toContain(
      [
        '  failing   4 × 500 /cart',
        '  it wrote  TypeError: cart is not a function',
        '                at total (/app/cart.js:12:7)',
        '  commits   ccccccc Add ␛[2Jthe cart',
        '  next      mend it and push: git push atelier main; the same again: atelier redeploy 1.0.1',
        '',
      ].join('\n'),
    )
  })

  test('says on how little a stage was reached', async () => {
    const { id } = await plane.rollout(app, '1.0.1')
    for (const [confidence, label] of [
      ['low', ' (low confidence: few requests)'],
      ['unverified', ' (unverified: no traffic)'],
      ['full', ''],
    ] as const) {
      await plane.sql`update rollouts set confidence = ${confidence} where id = ${id}`
      expect(await said('status')).toContain(`${app} 1.0.1 (v2) has 5 % of the traffic${label}, 1.0.0 (v1) the rest\n`)
    }
  })

  test('names a lock', async () => {
    await said('lock', '-m', 'migrating')
    expect(await said('status')).toMatch(
      new RegExp(
        `${app} is locked by admin-all \\(migrating\\), \\d+ s ago; to lift it: atelier unlock --app ${app}\n`,
      ),
    )
  })

  test('on a terminal is drawn again in its place until the rollout is over, and then says how it ended', async () => {
    const { id } = await plane.rollout(app, '1.0.1')
    const watching = atelier.onTerminal('status')
    await expect.poll(watching.shown).toContain('has 5 % of the traffic')
    await said('pause', '-m', 'sale')
    await expect.poll(watching.shown).toContain('paused at 5 % by admin-all: sale')
    expect(watching.shown()).toMatch(/\u001b\[\d+A\u001b\[J/)
    await said('promote', '100')
    await plane.sql`update rollouts set state = 'done', sentence = 'done', ended_at = now(), revision = revision + 1 where id = ${id}`
    expect(await watching.code).toBe(0)
    expect(watching.shown()).toContain('1.0.1 (v2) has all traffic: done')
  })
})

describe('deploy --follow', () => {
  const takenBack = async (sentence: string) => {
    const [{ id } = { id: '' }] = await plane.sql<
      { id: string }[]
    >`select id from deployments where app_id = ${app} and state = 'queued'`
    const rollout = await beginRollout(plane.sql, plane.config, id)
    await plane.sql.begin((tx) =>
      revertRollout(tx, rollout, { to: 'failed', by: 'platform', sentence, errorCode: 'ROLLED_BACK' }),
    )
    await plane.sql.begin((tx) => keepReasons(tx, rollout))
    await plane.sql.begin((tx) => endRollout(tx, rollout, { state: 'aborted', sentence, by: 'platform' }))
  }

  test('stays to the verdict and fails by it; without it the command ends at the first stage', async () => {
    await writeFile(join(platformHome, 'index.html'), 'two')
    const woken = plane.woken.length
    const following = atelier('deploy', platformHome, '--follow')
    await expect.poll(() => plane.woken.length).toBe(woken + 1)
    await takenBack('errors 4/68 vs 1/1290')
    expect(await following).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('was taken back: errors 4/68 vs 1/1290'),
    })

    const ending = atelier('redeploy', '1.0.0')
    await expect.poll(() => plane.woken.length).toBe(woken + 2)
    const [{ id } = { id: '' }] = await plane.sql<
      { id: string }[]
    >`select id from deployments where app_id = ${app} and state = 'queued'`
    await beginRollout(plane.sql, plane.config, id)
    expect(await ending).toMatchObject({ code: 0 })
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
  expect((await said('deploy', '--help')).replaceAll(/\s+/g, ' ')).toContain('--unlock lift the lock')
})
