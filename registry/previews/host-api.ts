import { z } from 'zod'
import type { OutboundAnswer, OutboundLimits, OutboundRequest } from '../egress/outbound-http.ts'
import { messageOf } from '../errors.ts'
import { isForkOf, type PullRequestFacts } from '../repo-heads.ts'
import type { RepoLink } from '../repo-links.ts'

/** How the API is called: registry/egress/outbound-http.ts. */
export type Caller = { send(request: OutboundRequest, limits?: Partial<OutboundLimits>): Promise<OutboundAnswer> }

export type CommitStatus = { state: 'pending' | 'success' | 'failure' | 'error'; text: string; url: string | null }

/** The host did not do what it was asked. `retryAfterSec`: when it wants to be asked again. */
export class HostFailure extends Error {
  readonly status: number | null
  readonly retryAfterSec: number | null

  constructor(message: string, { status, retryAfterSec }: { status: number | null; retryAfterSec: number | null }) {
    super(message)
    this.name = 'HostFailure'
    this.status = status
    this.retryAfterSec = retryAfterSec
  }
}

/** What people may know of what went wrong. */
export function wordsFor(thrown: unknown): string {
  return thrown instanceof HostFailure
    ? thrown.message
    : 'something broke on our side; the log of the registry says more'
}

const pageSize = 50
const mostPages = 20
const listBytes = 16 * 1_048_576

const sha = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/)
const repository = z.object({ id: z.number(), full_name: z.string() })
const pullsJson = z.array(
  z.object({
    number: z.int().positive(),
    updated_at: z.string().nullish(),
    head: z.object({ sha, ref: z.string().nullish(), repo: repository.nullish() }),
    base: z.object({ repo: repository }),
  }),
)
const commentJson = z.object({ id: z.int().positive() })
const commentsJson = z.array(z.object({ id: z.int().positive(), body: z.string().nullish() }))
// GitHub names it sha, Gitea id.
const branchJson = z.object({ commit: z.object({ sha: sha.optional(), id: sha.optional() }) })

/**
 * The part of a host's API that we use, which is the same at GitHub (REST, 2022-11-28) and at Gitea and Forgejo (v1) but for the names of two
 * parameters. Every call has an end; what the host answers is read by a schema. Throws HostFailure.
 */
export class HostApi {
  readonly #link: Pick<RepoLink, 'host' | 'apiUrl' | 'fullName'>
  readonly #token: string | null
  readonly #caller: Caller

  constructor(link: Pick<RepoLink, 'host' | 'apiUrl' | 'fullName'>, token: string | null, caller: Caller) {
    this.#link = link
    this.#token = token
    this.#caller = caller
  }

  /** All that are open. Never a part of them: who takes away what is not in the list would take away too much. */
  async openPulls(): Promise<PullRequestFacts[]> {
    const found: PullRequestFacts[] = []
    const size = this.#link.host === 'github' ? 'per_page' : 'limit'
    for (let page = 1; page <= mostPages; page++) {
      const path = `pulls?state=open&${size}=${pageSize}&page=${page}`
      const pulls = await this.#ask('GET', path, pullsJson, { answerBytes: listBytes, timeoutMs: 20_000 })
      found.push(
        ...pulls.map(({ number, head, base, updated_at: at }) => ({
          number,
          headSha: head.sha,
          isFork: isForkOf(base.repo, head),
          saidAt: at && !Number.isNaN(Date.parse(at)) ? new Date(at) : null,
        })),
      )
      // A server may give smaller pages than it was asked for: only an empty one is the end for certain.
      if (pulls.length === 0) return found
    }
    throw new HostFailure(`${this.#link.fullName} has too many open pull requests to go through`, noStatus)
  }

  /** Null: there is no such branch. Hosts say the same of a repository that we may not see: `openPulls` first. */
  async headOf(branch: string): Promise<string | null> {
    const path = `branches/${branch.split('/').map(encodeURIComponent).join('/')}`
    const read = await this.#ask('GET', path, branchJson).catch((thrown: unknown) => {
      if (thrown instanceof HostFailure && thrown.status === 404) return null
      throw thrown
    })
    return read?.commit.sha ?? read?.commit.id ?? null
  }

  async setStatus(commit: string, { context, state, text, url }: CommitStatus & { context: string }): Promise<void> {
    const json = { state, context, description: cut(text, 140), ...(url && { target_url: url }) }
    await this.#ask('POST', `statuses/${commit}`, z.unknown(), { json })
  }

  /**
   * The one comment of ours: the given one, or one with our mark that an earlier try has left, or a new one. Returns its id.
   */
  async putComment(
    pull: number,
    { id, mark, text }: { id: string | null; mark: string; text: string },
  ): Promise<string> {
    const known = id ?? (await this.#findComment(pull, mark))
    if (known !== null) {
      try {
        await this.#ask('PATCH', `issues/comments/${known}`, z.unknown(), { json: { body: text } })
        return known
      } catch (thrown) {
        // Somebody has removed it.
        if (!(thrown instanceof HostFailure) || thrown.status !== 404) throw thrown
      }
    }
    const made = await this.#ask('POST', `issues/${pull}/comments`, commentJson, { json: { body: text } })
    return String(made.id)
  }

  async #findComment(pull: number, mark: string): Promise<string | null> {
    const path = `issues/${pull}/comments${this.#link.host === 'github' ? '?per_page=100' : ''}`
    const comments = await this.#ask('GET', path, commentsJson, { answerBytes: listBytes })
    const ours = comments.find(({ body }) => body?.includes(mark))
    return ours ? String(ours.id) : null
  }

  async #ask<T>(
    method: 'GET' | 'POST' | 'PATCH',
    path: string,
    schema: z.ZodType<T>,
    {
      json,
      answerBytes = 262_144,
      timeoutMs = 10_000,
    }: { json?: object; answerBytes?: number; timeoutMs?: number } = {},
  ): Promise<T> {
    const url = `${this.#link.apiUrl}/repos/${this.#link.fullName}/${path}`
    const request = { url, method, headers: this.#headers(json), ...(json && { body: JSON.stringify(json) }) }
    const answer = await this.#caller
      .send(request, { answerBytes, timeoutMs, redirects: 1 })
      .catch((thrown: unknown) => {
        throw new HostFailure(messageOf(thrown), noStatus)
      })
    if (answer.status < 200 || answer.status > 299) throw refusal(answer, `${method} ${new URL(url).pathname}`)
    return readAnswer(answer, schema, new URL(url).host)
  }

  #headers(json: object | undefined): Record<string, string> {
    const isGithub = this.#link.host === 'github'
    return {
      accept: isGithub ? 'application/vnd.github+json' : 'application/json',
      ...(isGithub && { 'x-github-api-version': '2022-11-28' }),
      ...(json && { 'content-type': 'application/json' }),
      ...(this.#token !== null && { authorization: `${isGithub ? 'Bearer' : 'token'} ${this.#token}` }),
    }
  }
}

const noStatus = { status: null, retryAfterSec: null }

function readAnswer<T>({ body, isWhole, status }: OutboundAnswer, schema: z.ZodType<T>, host: string): T {
  const wrong = (why: string) =>
    new HostFailure(`${host} answered ${status} with ${why}`, { status, retryAfterSec: null })
  if (!isWhole) throw wrong('more than is taken, or broke off')
  let json: unknown
  try {
    json = body.length === 0 ? null : JSON.parse(body.toString('utf8'))
  } catch {
    throw wrong('what is not JSON')
  }
  const read = schema.safeParse(json)
  if (read.success) return read.data
  throw wrong('something else than was asked for')
}

// The body is the host's own and is shown to nobody: only what it means.
function refusal({ status, headers }: OutboundAnswer, what: string): HostFailure {
  const why =
    status === 401 || status === 403 || status === 404
      ? 'the token may be missing, expired or too narrow'
      : 'it is tried again'
  return new HostFailure(`${what} was answered with ${status}; ${why}`, { status, retryAfterSec: retryAfter(headers) })
}

// retry-after in seconds, or GitHub's own: the limit of an hour is used up until a time.
function retryAfter(headers: OutboundAnswer['headers']): number | null {
  const seconds = Number(headers['retry-after'])
  if (Number.isInteger(seconds) && seconds > 0) return Math.min(seconds, 3600)
  const reset = Number(headers['x-ratelimit-reset'])
  if (headers['x-ratelimit-remaining'] !== '0' || !Number.isFinite(reset)) return null
  return Math.min(Math.max(reset - Math.floor(Date.now() / 1000), 1), 3600)
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text
}
