import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './command.ts'
import { requireProgram } from './machine.ts'
import { type Files, writeFiles } from './repo.ts'

type Asked = { url: string; authorization: string | null }

/** A foreign git host: git's own `http-backend` over HTTP, on an address of this machine. For tests. */
export class GitHost {
  readonly address: string
  /** Every request so far. */
  readonly asked: Asked[] = []
  /** What answers in place of git, when it says so by returning true. */
  instead: (request: IncomingMessage, response: ServerResponse) => boolean = () => false
  readonly #root: string
  readonly #git: string
  readonly #close: () => Promise<void>

  private constructor(address: string, root: string, git: string, close: () => Promise<void>) {
    this.address = address
    this.#root = root
    this.#git = git
    this.#close = close
  }

  /** `token`: whoever does not send it as a password is refused. */
  static async start({
    at = '127.0.0.3',
    token = null,
  }: {
    at?: string
    token?: string | null
  } = {}): Promise<GitHost> {
    const root = await mkdtemp(join(tmpdir(), 'git-host-'))
    const git = await requireProgram('git', ['git'])
    const server = createServer((request, response) => {
      const { authorization = null } = request.headers
      host.asked.push({ url: request.url ?? '', authorization })
      const password = Buffer.from(authorization?.split(' ')[1] ?? '', 'base64')
        .toString()
        .split(':')[1]
      if (host.instead(request, response)) return
      if (token !== null && password !== token)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end('a page of the host')
      else host.#serve(request, response)
    })
    await new Promise<void>((listening) => server.listen(0, at, () => listening()))
    const host = new GitHost(`${at}:${(server.address() as AddressInfo).port}`, root, git, async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
      await rm(root, { recursive: true })
    })
    return host
  }

  url(name: string): string {
    return `http://${this.address}/${name}.git`
  }

  /** Commits these files to a branch of a repository, which is made on first use; the commit's SHA. */
  async commit(name: string, files: Files, { branch = 'main', subject = 'one' } = {}): Promise<string> {
    const repository = join(this.#root, `${name}.git`)
    const work = await mkdtemp(join(tmpdir(), 'git-work-'))
    const env = { PATH: process.env['PATH'], HOME: work, GIT_CONFIG_NOSYSTEM: '1' }
    const git = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(this.#git, args, { cwd: work, env })
      if (code !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
      return stdout.trim()
    }
    await git('init', '--quiet', '--bare', repository)
    await git('init', '--quiet', `--initial-branch=work`)
    await writeFiles(work, files)
    await git('add', '--all', '--force')
    await git('-c', 'user.name=M', '-c', 'user.email=m@example.com', 'commit', '--quiet', '-m', subject)
    await git(
      'push',
      '--quiet',
      '--force',
      repository,
      `HEAD:${branch.startsWith('refs/') ? branch : `refs/heads/${branch}`}`,
    )
    await git('--git-dir', repository, 'symbolic-ref', 'HEAD', 'refs/heads/main')
    const sha = await git('rev-parse', 'HEAD')
    await rm(work, { recursive: true })
    return sha
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close()
  }

  // CGI (RFC 3875): a head of lines, an empty line, the body.
  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://host')
    const child = spawn(this.#git, ['http-backend'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {
        PATH: process.env['PATH'],
        GIT_PROJECT_ROOT: this.#root,
        GIT_HTTP_EXPORT_ALL: '1',
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
        REQUEST_METHOD: request.method,
        PATH_INFO: pathname,
        QUERY_STRING: searchParams.toString(),
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      },
    })
    child.on('error', () => response.destroy())
    child.stdin.on('error', () => undefined)
    response.on('error', () => child.kill())
    request.pipe(child.stdin)
    let head: Buffer | null = Buffer.alloc(0)
    child.stdout.on('data', (chunk: Buffer) => {
      if (head === null) return void response.write(chunk)
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      const lines = head.subarray(0, end).toString().split('\r\n')
      const fields = lines.map((line): [string, string] => [line.split(': ')[0] ?? '', line.split(': ')[1] ?? ''])
      const status = fields.find(([name]) => name === 'Status')?.[1] ?? '200'
      response.writeHead(Number.parseInt(status, 10), Object.fromEntries(fields.filter(([name]) => name !== 'Status')))
      response.write(head.subarray(end + 4))
      head = null
    })
    child.stdout.on('end', () => response.end())
  }
}
