import { appUrl, type Config } from '../config.ts'
import type { DeploymentState } from '../deployments.ts'
import type { RepoHead } from '../repo-heads.ts'
import type { ForkRule } from '../repo-links.ts'
import { shortVersion } from '../version.ts'
import type { CommitStatus } from './host-api.ts'

/** A head and what became of it. `state` null: nothing was deployed of it. */
export type HeadToTell = RepoHead & {
  forks: ForkRule
  state: DeploymentState | null
  stateReason: string | null
  version: string | null
  label: string | null
}

/** What the host is told: of which commit, with which status, and what the comment says. */
export type Verdict = {
  told: 'pending' | 'success' | 'failure' | 'removed'
  sha: string
  status: CommitStatus | null
  comment: string | null
}

/** By this our comment is found again; nobody sees it. */
export function markOf({ linkId }: Pick<RepoHead, 'linkId'>): string {
  return `<!-- atelier ${linkId} -->`
}

export function judge(head: HeadToTell, config: Config): Verdict {
  const { told, text, isLive } = stateOf(head)
  const url = head.label && head.isOpen && head.state !== 'removed' ? appUrl(config, head.label) : null
  const sha = head.note === null && head.version && head.isOpen ? head.version : head.headSha
  // What was called pending would stay so for ever.
  const isLeftPending = head.toldState === 'pending' && head.toldSha === sha
  const state = told !== 'removed' ? told : isLeftPending ? 'error' : null
  return {
    told,
    sha,
    status: state && { state, text, url: isLive ? url : null },
    comment: head.pullRequest === null ? null : commentOf(head, { told, text, url, sha }),
  }
}

type Said = { told: Verdict['told']; text: string; isLive?: boolean }

function stateOf(head: HeadToTell): Said {
  if (!head.isOpen) return { told: 'removed', text: 'the pull request is closed, and its preview removed' }
  if (head.note !== null) return { told: head.refusedSha === head.headSha ? 'removed' : 'pending', text: head.note }
  switch (head.state) {
    case 'live':
    case 'canary':
      return { told: 'success', text: head.pullRequest === null ? 'it is live' : 'the preview is live', isLive: true }
    case 'failed':
    case 'rolled_back':
    case 'cancelled':
      return { told: 'failure', text: head.stateReason ?? head.state.replace('_', ' ') }
    case 'superseded':
    case 'removed':
      return { told: 'removed', text: head.stateReason ?? 'it was replaced' }
    case null:
      return { told: 'pending', text: 'it is being fetched' }
    default:
      return { told: 'pending', text: head.state === 'queued' ? 'it waits for a builder' : 'it is being built' }
  }
}

const titles = { pending: 'on its way', success: 'live', failure: 'failed', removed: 'removed' }

function commentOf(
  head: HeadToTell,
  { told, text, url, sha }: { told: Verdict['told']; text: string; url: string | null; sha: string },
): string {
  const waits = head.isFork && head.isOpen && head.approvedSha !== head.headSha && head.forks === 'approve'
  const lines = [
    markOf(head),
    `**Preview of ${head.appId}: ${waits ? 'waits for approval' : titles[told]}** (\`${shortVersion(sha)}\`)`,
    ...(told === 'success' && url ? [url] : []),
    ...(told === 'success' ? [] : [quoted(text)]),
    ...(waits
      ? [
          `It comes from a fork. To build this commit: \`atelier previews approve ${head.pullRequest} ${head.headSha} -a ${head.appId}\``,
        ]
      : []),
    ...(told === 'failure' && head.deploymentId ? [`The log: \`atelier logs ${head.deploymentId}\``] : []),
  ]
  return lines.join('\n\n')
}

// A build may say anything: here it is text, with nobody's name called in it and no picture loaded.
function quoted(text: string): string {
  const plain = text.replace(/[\r\n\u2028\u2029]+/g, ' ').replaceAll('`', "'")
  return `\`${plain.length > 500 ? `${plain.slice(0, 500)}…` : plain}\``
}
