import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

type Recorded = { name: string; examples: Record<string, unknown>[] }

let recorded: Recorded[] | null = null

/** A webhook as GitHub sent it to somebody, of those it publishes for who writes receivers. */
export function recordedHook(event: string, action?: string): Record<string, unknown> {
  const path = createRequire(import.meta.url).resolve('@octokit/webhooks-examples/api.github.com/index.json')
  recorded ??= JSON.parse(readFileSync(path, 'utf8')) as Recorded[]
  const found = recorded.find(({ name }) => name === event)?.examples.find((one) => !action || one['action'] === action)
  if (!found) throw new Error(`there is no example of ${event} ${action}`)
  return structuredClone(found)
}

/** The recorded one, of another pull request. */
export function githubPullRequest({
  action,
  number,
  sha,
  repository,
  from,
  at,
}: {
  action: 'opened' | 'synchronize' | 'closed' | 'reopened'
  number: number
  sha: string
  repository: string
  from: string
  at: Date
}): object {
  const hook = recordedHook('pull_request', action) as {
    number: number
    repository: { full_name: string; id: number }
    pull_request: { number: number; updated_at: string; head: { sha: string; repo: object } }
  }
  hook.number = number
  hook.repository.full_name = repository
  const { pull_request: pull } = hook
  Object.assign(pull, { number, updated_at: at.toISOString() })
  const id = hook.repository.id + (from === repository ? 0 : 1)
  Object.assign(pull.head, { sha, repo: { ...pull.head.repo, id, full_name: from } })
  return hook
}

export function githubPush({ branch, sha, repository }: { branch: string; sha: string; repository: string }): object {
  const hook = recordedHook('push') as { repository: { full_name: string } }
  hook.repository.full_name = repository
  return Object.assign(hook, { ref: `refs/heads/${branch}`, after: sha, deleted: false })
}
