import { createHmac, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { GitHost } from './git-host.ts'
import { giteaPullRequest, giteaPush } from './gitea-hooks.ts'
import { githubPullRequest, githubPush } from './github-hooks.ts'
import type { Files } from './repo.ts'

type Pull = { number: number; sha: string; isOpen: boolean; from: string; at: Date }
export type Said = { sha: string; state: string; description: string; target_url?: string; context: string }
type Comment = { id: number; pull: number; body: string; edits: number }
/** Where the webhooks go, and with what they are signed. */
export type Hook = {
  url: string
  secret: string
  send: (headers: Record<string, string>, body: string) => Promise<number>
}

/**
 * A foreign git host with a real git behind it and, at the same address, the few calls of its API that are used: it keeps statuses and comments as it was
 * told, and sends webhooks in the shape of GitHub's or Gitea's. For tests.
 */
export class Forge {
  readonly host: GitHost
  readonly kind: 'github' | 'gitea'
  readonly repository: string
  readonly statuses: Said[] = []
  readonly comments: Comment[] = []
  /** Calls of the API so far, by method and path. */
  readonly calls: string[] = []
  /** What the API does instead of answering. */
  trouble: 'none' | 'silent' | 'wrong' | 'failing' = 'none'
  readonly #pulls = new Map<number, Pull>()
  readonly #token: string
  readonly #waiting = new Set<ServerResponse>()
  #mainSha: string | null = null
  #time = Date.now()

  static async start(
    kind: 'github' | 'gitea',
    { repository = 'ada/hello', token = 'token-of-the-host', at }: { repository?: string; token?: string; at: string },
  ): Promise<Forge> {
    return new Forge(kind, await GitHost.start({ at }), repository, token)
  }

  private constructor(kind: 'github' | 'gitea', host: GitHost, repository: string, token: string) {
    this.kind = kind
    this.host = host
    this.repository = repository
    this.#token = token
    host.instead = (request, response) => {
      if (!request.url?.startsWith('/api/')) return false
      void this.#answer(request, response)
      return true
    }
  }

  get url(): string {
    return `http://${this.host.address}/${this.repository}`
  }

  /** Of one pull request, the newest last. */
  commentsOf(pull: number): string[] {
    return this.comments.filter((one) => one.pull === pull).map(({ body }) => body)
  }

  /** What the last status of a commit says. */
  statusOf(sha: string): Said | undefined {
    return this.statuses.findLast((one) => one.sha === sha)
  }

  /** A new head of a pull request, of which nobody is told yet. `from`: the fork it comes from. */
  async propose(number: number, files: Files, { from = this.repository }: { from?: string } = {}): Promise<string> {
    const branch = `refs/pull/${number}/head`
    const sha = await this.host.commit(this.repository, files, { branch, subject: `change ${number}` })
    this.#pulls.set(number, { number, sha, isOpen: true, from, at: this.#now() })
    return sha
  }

  async push(files: Files): Promise<string> {
    this.#mainSha = await this.host.commit(this.repository, files)
    return this.#mainSha
  }

  /** Its default branch has another name from now on. */
  renameMain(): void {
    this.#mainSha = null
  }

  /** Closes it, of which nobody is told yet. */
  close(number: number): void {
    const pull = this.#pulls.get(number)
    if (pull) this.#pulls.set(number, { ...pull, isOpen: false, at: this.#now() })
  }

  reopen(number: number): void {
    const pull = this.#pulls.get(number)
    if (pull) this.#pulls.set(number, { ...pull, isOpen: true, at: this.#now() })
  }

  /** Tells of a pull request, as it is; the status of the answer. */
  async tell(hook: Hook, action: 'opened' | 'synchronize' | 'closed' | 'reopened', number: number): Promise<number> {
    const pull = this.#pulls.get(number)
    if (!pull) throw new Error(`there is no pull request ${number}`)
    const { repository, kind } = this
    const facts = { number, sha: pull.sha, repository, from: pull.from, at: pull.at }
    const body =
      kind === 'github'
        ? githubPullRequest({ ...facts, action })
        : giteaPullRequest({ ...facts, action: action === 'synchronize' ? 'synchronized' : action })
    return this.#send(hook, 'pull_request', body)
  }

  tellOfPush(hook: Hook, sha: string): Promise<number> {
    const facts = { branch: 'main', sha, repository: this.repository }
    return this.#send(hook, 'push', this.kind === 'github' ? githubPush(facts) : giteaPush(facts))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const response of this.#waiting) response.destroy()
    await this.host[Symbol.asyncDispose]()
  }

  #send({ secret, send }: Hook, event: string, json: object): Promise<number> {
    const body = JSON.stringify(json)
    const signature = createHmac('sha256', secret).update(body).digest('hex')
    const delivery = randomUUID()
    const headers: Record<string, string> =
      this.kind === 'github'
        ? { 'x-github-event': event, 'x-github-delivery': delivery, 'x-hub-signature-256': `sha256=${signature}` }
        : { 'x-gitea-event': event, 'x-gitea-delivery': delivery, 'x-gitea-signature': signature }
    return send({ 'content-type': 'application/json', ...headers }, body)
  }

  // Each later than the one before, to the second that hosts say.
  #now(): Date {
    this.#time += 1000
    return new Date(this.#time)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request
    this.calls.push(`${method} ${url}`)
    const body = await text(request)
    if (this.trouble === 'silent') {
      this.#waiting.add(response)
      response.once('close', () => this.#waiting.delete(response))
      return
    }
    if (this.trouble === 'wrong') return void response.writeHead(200).end('<!doctype html><title>Wrong</title>')
    if (this.trouble === 'failing') return void response.writeHead(500).end('{"message":"no"}')
    const bearer = this.kind === 'github' ? `Bearer ${this.#token}` : `token ${this.#token}`
    if (headers.authorization !== bearer) return void response.writeHead(401).end('{}')
    const base = `/api/${this.kind === 'github' ? 'v3' : 'v1'}/repos/${this.repository}`
    if (!url.startsWith(`${base}/`)) return void response.writeHead(404).end('{}')
    const [status, json] = this.#do(method, url.slice(base.length), body ? JSON.parse(body) : null)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json))
  }

  #do(method: string, path: string, body: Record<string, string> | null): [number, unknown] {
    const { pathname, searchParams } = new URL(path, 'http://host')
    const [, what, name, more] = pathname.split('/')
    if (method === 'GET' && what === 'pulls') return [200, this.#listPulls(searchParams)]
    if (method === 'GET' && what === 'branches')
      return this.#mainSha
        ? [200, { name, commit: this.kind === 'github' ? { sha: this.#mainSha } : { id: this.#mainSha } }]
        : [404, {}]
    if (method === 'POST' && what === 'statuses') {
      this.statuses.push({ sha: name ?? '', ...(body as Omit<Said, 'sha'>) })
      return [201, { id: this.statuses.length }]
    }
    if (what !== 'issues') return [404, {}]
    if (method === 'GET') return [200, this.comments.filter(({ pull }) => pull === Number(name))]
    if (method === 'POST') {
      const comment = { id: this.comments.length + 1, pull: Number(name), body: body?.['body'] ?? '', edits: 0 }
      this.comments.push(comment)
      return [201, comment]
    }
    const known = this.comments.find(({ id }) => id === Number(more))
    if (!known) return [404, {}]
    known.body = body?.['body'] ?? ''
    known.edits++
    return [200, known]
  }

  #listPulls(query: URLSearchParams): unknown[] {
    const size = Number(query.get(this.kind === 'github' ? 'per_page' : 'limit') ?? 30)
    const start = (Number(query.get('page') ?? 1) - 1) * size
    const open = [...this.#pulls.values()].filter(({ isOpen }) => isOpen)
    return open.slice(start, start + size).map(({ number, sha, from, at }) => ({
      number,
      state: 'open',
      updated_at: at.toISOString(),
      head: { ref: 'better', sha, repo: { id: from === this.repository ? 1 : 2, full_name: from } },
      base: { ref: 'main', repo: { id: 1, full_name: this.repository } },
    }))
  }
}
