import type { Commit } from '../registry/deployments.ts'
import { findLive } from '../registry/live.ts'
import { recordCommits } from '../registry/ref-moves.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { plainLine } from './plain-line.ts'

const mostCommits = 20
const maxSubject = 100

/**
 * Notes at a pushed deployment which commits it brings to what is live, the newest first: whoever has to know why it was taken back looks there first. A
 * deployment without them is as good; what goes wrong is logged.
 */
export async function noteCommits(
  { id, appId, environment, gitSha }: { id: string; appId: string; environment: string; gitSha: string },
  repository: string,
  { sql, git, log }: Pick<GatewayDeps, 'sql' | 'git' | 'log'>,
): Promise<void> {
  if (environment !== 'production') return
  try {
    const live = await findLive(sql, appId)
    if (!live?.gitSha || live.gitSha === gitSha) return
    const range = ['--end-of-options', `${live.gitSha}..${gitSha}`]
    const args = ['log', '-z', `--max-count=${mostCommits}`, '--format=%H %s', ...range]
    const { code, stdout } = await git.run(repository, args)
    // What is live may come from a history that was pushed over and is gone.
    if (code !== 0) return
    await recordCommits(sql, id, stdout.split('\0').flatMap(readCommit))
  } catch (thrown) {
    log.warn({ err: thrown, app: appId, deployment: id }, 'commits of a push not noted')
  }
}

function readCommit(line: string): Commit[] {
  const [, sha, subject = ''] = /^([0-9a-f]{40,64}) (.*)$/s.exec(line) ?? []
  return sha ? [{ sha, subject: plainLine(subject, maxSubject) }] : []
}
