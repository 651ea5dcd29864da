import { appendBuildLog } from './build-logs.ts'
import { type Commit, type Deployment, findDeployment } from './deployments.ts'
import type { FailingPath } from './rollout-reports.ts'
import type { Db } from './sql.ts'
import { findStackTraces } from './stack-traces.ts'
import { shortVersion } from './version.ts'

// Why a version was taken back, as far as the platform can know: which paths failed, what it wrote while they did, what had changed.

export type Reasons = {
  /** Of the new version, the five that failed most. */
  failingPaths: Pick<FailingPath, 'path' | 'status' | 'count'>[]
  /** The first three that are different; the error and at most five frames, a line each. */
  stackTraces: string[]
  /** Between the old version and the new one, the newest first. */
  commits: Commit[]
}

const shownPaths = 5
const shownCommits = 5
const searchedLines = 5_000

/** Those that were kept, or else as they are known now. */
export async function readReasons(sql: Db, rolloutId: string): Promise<Reasons> {
  const [row] = await sql<{ reasons: Reasons | null; toDeployment: string; commits: Commit[] | null }[]>`
    select o.reasons, o.to_deployment, d.commits
    from rollouts o
    join deployments d on d.id = o.to_deployment
    where o.id = ${rolloutId}
  `
  if (!row) return { failingPaths: [], stackTraces: [], commits: [] }
  if (row.reasons) return row.reasons
  const [failingPaths, lines] = await Promise.all([
    readFailingPaths(sql, rolloutId),
    readErrorLines(sql, row.toDeployment),
  ])
  return { failingPaths, stackTraces: findStackTraces(lines), commits: row.commits ?? [] }
}

/** Keeps them, and writes them to the log of the version, for those who follow it and those who come later. Done again it changes nothing. */
export async function keepReasons(tx: Db, { id, toDeployment }: { id: string; toDeployment: string }): Promise<void> {
  const reasons = await readReasons(tx, id)
  const kept = await tx`
    update rollouts
    set reasons = ${tx.json(reasons)}
    where id = ${id}
      and reasons is null
    returning id
  `
  const deployment = kept.length === 1 ? await findDeployment(tx, toDeployment) : null
  if (!deployment) return
  await appendBuildLog(tx, toDeployment, [...reasonLines(reasons), ...list('next', [nextStep(deployment)])])
}

/** For people, below the sentence of the verdict. Text from elsewhere: whoever shows it cleans it. */
export function reasonLines({ failingPaths, stackTraces, commits }: Reasons): string[] {
  const paths = failingPaths.map(({ path, status, count }) => `${count} × ${status || 'no answer'} ${path}`)
  const shown = commits.slice(0, shownCommits).map(({ sha, subject }) => `${shortVersion(sha)} ${subject}`)
  if (commits.length > shownCommits) shown.push(`and ${commits.length - shownCommits} more`)
  return [
    ...list('failing', paths),
    ...stackTraces.flatMap((trace, index) => list(index === 0 ? 'it wrote' : '', trace.split('\n'))),
    ...list('commits', shown),
  ]
}

/** `3f2a91c (v17) was taken back: errors 4/68 vs 1/1290 (…)`; what people give as a reason says so itself. */
export function takenBack(name: string, sentence: string | null): string {
  if (!sentence) return `${name} was taken back`
  return sentence.startsWith('taken back') ? `${name} was ${sentence}` : `${name} was taken back: ${sentence}`
}

/** What to do after a version was taken back. */
export function nextStep({ version, branch, number }: Pick<Deployment, 'version' | 'branch' | 'number'>): string {
  const name = /^\d{8}-\d{6}$/.test(version) ? `v${number}` : shortVersion(version)
  return `mend it and push: git push atelier ${branch}; the same again: atelier redeploy ${name}`
}

function list(name: string, lines: string[]): string[] {
  return lines.map((line, index) => `       ${(index === 0 ? name : '').padEnd(9)} ${line}`)
}

// Each process tells its own sum with the newest segment it counted in.
async function readFailingPaths(sql: Db, rolloutId: string): Promise<Reasons['failingPaths']> {
  const rows = await sql<{ failingPaths: string }[]>`
    select distinct on (edge_id, boot_id) failing_paths
    from rollout_reports
    where rollout_id = ${rolloutId}
    order by edge_id, boot_id, segment desc
  `
  const sums = new Map<string, Reasons['failingPaths'][number]>()
  for (const { arm, path, status, count } of rows.flatMap((row) => JSON.parse(row.failingPaths) as FailingPath[])) {
    if (arm !== 'candidate') continue
    const key = `${status} ${path}`
    sums.set(key, { path, status, count: (sums.get(key)?.count ?? 0) + count })
  }
  return [...sums.values()].sort((one, other) => other.count - one.count).slice(0, shownPaths)
}

async function readErrorLines(sql: Db, deploymentId: string): Promise<string[]> {
  const rows = await sql<{ text: string }[]>`
    select l.text
    from app_log_lines l
    join deployments d on d.id = ${deploymentId}
    where l.app_id = d.app_id
      and l.deployment_id = d.id
      and l.stream in ('stderr', 'platform')
    order by l.id
    limit ${searchedLines}
  `
  return rows.map(({ text }) => text)
}
