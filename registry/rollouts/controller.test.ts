import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createDatabase } from '../../test/support/database.ts'
import {
  bring,
  config,
  counted,
  insertHistory,
  liveApp,
  PlayedEdges,
  reportOf,
  rolloutOf,
} from '../../test/support/rollout.ts'
import { findDeployment } from '../deployments.ts'
import { createLog } from '../log.ts'
import type { Rollout } from '../rollout.ts'
import { insertProbe, wantedProbes } from '../rollout-probes.ts'
import type { RolloutReport } from '../rollout-reports.ts'
import { reportRollout } from '../rollout-reports.ts'
import { connect } from '../sql.ts'
import { RolloutController } from './controller.ts'

const database = await createDatabase({ max: 8 })
const { sql } = database
afterAll(() => database[Symbol.asyncDispose]())
const edges = new PlayedEdges(sql, ['edge-1', 'edge-2', 'edge-3'])
beforeEach(() => edges.follow())

const leaders: ChildProcess[] = []
afterEach(async () => {
  for (const leader of leaders.splice(0)) await end(leader, 'SIGKILL')
})

/** A registry's controller in a process of its own; `said` collects its log. */
function startLeader() {
  const script = join(import.meta.dirname, '../../test/support/rollout-leader.ts')
  const env = { ...process.env, ATELIER_DATABASE_URL: database.url }
  const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  const said: string[] = []
  createInterface({ input: child.stderr }).on('line', (line) => said.push(line))
  leaders.push(child)
  return { child, said, hasSaid: (words: string) => said.some((line) => line.includes(words)) }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill(signal)
  await ended
}

const epochOf = async () => (await sql<{ epoch: number }[]>`select epoch from rollout_leader`)[0]?.epoch
const standOf = async ({ id }: Rollout) => (await sql`select * from rollouts where id = ${id}`)[0]
const evidenceOf = async (rollout: Rollout) => (await standOf(rollout))?.verdict?.numbers?.errors?.lnEvidence

async function beginAt5(): Promise<Rollout> {
  const { app, live } = await liveApp(sql)
  await insertHistory(sql, live, { edges: edges.ids, requests: 50 })
  const rollout = await rolloutOf(sql, await bring(sql, app))
  await expect.poll(() => standOf(rollout)).toMatchObject({ segment: 0 })
  return rollout
}

/** What each edge tells in turn: ever more requests, and errors of both arms that fall short of the bar until the last. */
function reportsOf(rollout: Rollout): RolloutReport[] {
  return Array.from({ length: 12 }, (_, index) => {
    const turn = index + 1
    const errors = turn < 12 ? Math.floor(turn / 8) : 4
    return reportOf(rollout, turn, {
      segments: [
        counted(0, 'candidate', { requests: 5 * turn, tosses: 5 * turn, errorRequests: errors, errorUnits: errors }),
        counted(0, 'baseline', { requests: 95 * turn, tosses: 95 * turn, errorRequests: turn, errorUnits: turn }),
      ],
    })
  })
}

const lastSeq = 12

async function tellAll(reports: readonly RolloutReport[]): Promise<void> {
  for (const report of reports) for (const edge of edges.ids) await reportRollout(sql, edge, [report])
}

describe('a leader that is killed in the middle of a stage', () => {
  test('is followed by one that reads the same evidence and gives the same verdict, whatever became of the reports', async () => {
    const first = startLeader()
    await expect.poll(() => first.hasSaid('leads the rollouts')).toBe(true)
    const [undisturbed, disturbed] = [await beginAt5(), await beginAt5()]
    const isLast = ({ seq }: RolloutReport) => seq === lastSeq
    const inOrder = reportsOf(undisturbed)
    await tellAll(inOrder.filter((report) => !isLast(report)))

    // Doubled, the newest before older ones, some lost; the rest comes late, to the next leader.
    const [one, two, three, four, five, six, ...late] = reportsOf(disturbed)
    await tellAll([four, two, four, one, one, six, three, five].flatMap((report) => report ?? []))
    await expect.poll(() => evidenceOf(disturbed)).toEqual(expect.any(Number))
    await expect.poll(async () => (await standOf(undisturbed))?.verdict?.numbers?.stage.candidate.requests).toBe(165)
    const evidence = await evidenceOf(undisturbed)
    await end(first.child, 'SIGKILL')

    await tellAll(late.filter((report) => !isLast(report)).reverse())
    const second = startLeader()
    await expect.poll(() => second.hasSaid('leads the rollouts')).toBe(true)
    await expect.poll(async () => (await standOf(disturbed))?.verdict?.numbers?.stage.candidate.requests).toBe(165)
    expect(await evidenceOf(disturbed)).toBeCloseTo(evidence, 9)

    await tellAll([...inOrder.filter(isLast), ...late.filter(isLast), ...late.filter(isLast)])
    for (const rollout of [undisturbed, disturbed])
      await expect.poll(() => standOf(rollout)).toMatchObject({ state: expect.stringMatching('reverting|aborted') })
    const [here, there] = [await standOf(undisturbed), await standOf(disturbed)]
    expect(there?.sentence).toBe(here?.sentence)
    expect(there?.sentence).toMatch(/^errors 12\/180 vs 36\/3420/)
    expect(there?.verdict.reading.lnEvidence).toBeCloseTo(here?.verdict.reading.lnEvidence, 9)
  })
})

describe('of several registries', () => {
  test('one leads at a time; the next raises the epoch', async () => {
    const [one, two] = [startLeader(), startLeader()]
    await expect.poll(() => one.hasSaid('leads the rollouts') || two.hasSaid('leads the rollouts')).toBe(true)
    const [leading, waiting] = one.hasSaid('leads the rollouts') ? [one, two] : [two, one]
    const epoch = await epochOf()
    await beginAt5()
    expect(waiting.hasSaid('leads the rollouts')).toBe(false)
    await end(leading.child, 'SIGKILL')
    await expect.poll(() => waiting.hasSaid('leads the rollouts')).toBe(true)
    expect(await epochOf()).toBe((epoch ?? 0) + 1)
    await beginAt5()
  })

  test('one that froze while it led writes nothing when it wakes', async () => {
    const frozen = startLeader()
    await expect.poll(() => frozen.hasSaid('leads the rollouts')).toBe(true)
    const rollout = await beginAt5()
    const epoch = (await standOf(rollout))?.epoch
    frozen.child.kill('SIGSTOP')
    const next = startLeader()
    await expect.poll(() => next.hasSaid('leads the rollouts')).toBe(true)
    await expect.poll(async () => (await standOf(rollout))?.epoch).toBe(epoch + 1)
    frozen.child.kill('SIGCONT')
    await expect.poll(() => frozen.hasSaid('leads the rollouts no more')).toBe(true)
    expect((await standOf(rollout))?.epoch).toBe(epoch + 1)
    await end(next.child, 'SIGKILL')
    await expect.poll(async () => (await standOf(rollout))?.epoch).toBe(epoch + 2)
  })
})

test('a new version that nobody visits is live as soon as the edges have asked it', async () => {
  const log = createLog('test')
  log.level = 'silent'
  const lockSql = connect(database.url, { max: 1, name: 'lock' })
  const controller = new RolloutController({ sql, lockSql, config, log })
  const { app } = await liveApp(sql)
  const candidate = await bring(sql, app)
  const { id } = await rolloutOf(sql, candidate)
  await edges.follow()
  for (const edgeId of edges.ids) {
    await expect.poll(() => wantedProbes(sql, edgeId)).toMatchObject([{ rolloutId: id, turn: 0 }])
    await insertProbe(sql, { rolloutId: id, turn: 0, edgeId, passed: 10, failed: 0, reason: null })
  }
  await expect.poll(async () => (await findDeployment(sql, candidate.id))?.state).toBe('live')
  await controller.close()
})
