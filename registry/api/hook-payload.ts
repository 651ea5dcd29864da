import { z } from '@hono/zod-openapi'
import { isForkOf, type PullRequestFacts } from '../repo-heads.ts'
import type { RepoHost } from '../repo-links.ts'
import { branchName } from './fields.ts'
import { readWith } from './request-input.ts'

/** What a webhook tells, as far as it concerns us. `repository`: `owner/name` of the one it speaks of. */
export type HookNews =
  | { kind: 'opened'; repository: string; pull: PullRequestFacts }
  | { kind: 'closed'; repository: string; pull: PullRequestFacts }
  | { kind: 'pushed'; repository: string; branch: string; sha: string }
  | { kind: 'nothing' }

// GitHub says synchronize, Gitea and Forgejo synchronized.
const opening = ['opened', 'synchronize', 'synchronized', 'reopened']

const sha = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/, 'must be a whole commit id')
const repository = z.object({ id: z.number(), full_name: z.string().max(300) })
const saidAt = z.iso.datetime({ offset: true }).nullish()

const pullRequestHook = z.object({
  action: z.string(),
  repository,
  pull_request: z.object({
    number: z.int().min(1).max(999_999_999),
    updated_at: saidAt,
    // Without a repository: the fork it came from is gone.
    head: z.object({ sha, ref: z.string().nullish(), repo: repository.nullish() }),
  }),
})

const pushHook = z.object({
  ref: z.string().max(300),
  after: sha,
  repository,
})

/** Reads the body of a webhook of `event`. Nothing in it says where anything is fetched from. Throws REQUEST_INVALID naming each problem. */
export function readHook(event: string, body: unknown): HookNews {
  if (event === 'pull_request') return readPullRequest(body)
  return event === 'push' ? readPush(body) : { kind: 'nothing' }
}

function readPullRequest(body: unknown): HookNews {
  const { action, repository: base, pull_request: pull } = readWith(pullRequestHook, body, 'body')
  const isOpening = opening.includes(action)
  if (!isOpening && action !== 'closed') return { kind: 'nothing' }
  const facts: PullRequestFacts = {
    number: pull.number,
    headSha: pull.head.sha,
    isFork: isForkOf(base, pull.head),
    saidAt: pull.updated_at ? new Date(pull.updated_at) : null,
  }
  return { kind: isOpening ? 'opened' : 'closed', repository: base.full_name, pull: facts }
}

function readPush(body: unknown): HookNews {
  const { ref, after, repository: of } = readWith(pushHook, body, 'body')
  if (!ref.startsWith('refs/heads/') || /^0+$/.test(after)) return { kind: 'nothing' }
  const branch = readWith(branchName, ref.slice('refs/heads/'.length), 'body.ref')
  return { kind: 'pushed', repository: of.full_name, branch, sha: after }
}

const headersOf: Record<RepoHost, { event: string[]; delivery: string[]; signature: string[] }> = {
  github: { event: ['x-github-event'], delivery: ['x-github-delivery'], signature: ['x-hub-signature-256'] },
  // Forgejo sends both families, Gitea its own.
  gitea: {
    event: ['x-gitea-event', 'x-forgejo-event'],
    delivery: ['x-gitea-delivery', 'x-forgejo-delivery'],
    signature: ['x-gitea-signature', 'x-forgejo-signature'],
  },
}

/** What the headers of a webhook say. `signature`: `sha256=` and hex, whichever host it comes from; null: none is there. */
export function readHookHeaders(
  host: RepoHost,
  headers: Headers,
): { event: string; delivery: string | null; signature: string | null } {
  const names = headersOf[host]
  const first = (from: string[]) => from.map((name) => headers.get(name)).find((value) => value !== null) ?? null
  const signature = first(names.signature)
  const delivery = first(names.delivery)
  return {
    event: first(names.event) ?? '',
    delivery: delivery !== null && /^[\x21-\x7e]{1,100}$/.test(delivery) ? delivery : null,
    signature: signature === null || host === 'github' ? signature : `sha256=${signature}`,
  }
}
