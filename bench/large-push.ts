import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { run } from '../test/support/command.ts'
import { type Row, repeat, seconds } from './measure.ts'

/**
 * Commits with 100 MB that do not compress, each pushed first to a bare repository behind git's own http-backend, then to the platform: one as
 * a tag, which is checked and kept and not deployed; the next to production, as a site of 100 MB that is built and live. The client is kept
 * from looking for differences between them, which would take it longer than the push.
 */
export async function measureLargePush(atelier: Atelier): Promise<Row[]> {
  const name = 'large'
  const repo = await atelier.clone(await atelier.createApp(name))
  await repo.git('config', 'core.compression', '0')
  await repo.git('config', 'core.bigFileThreshold', '1m')
  const bare = await BareServer.start(await atelier.directory())
  const [kept, keptBare]: [number[], number[]] = [[], []]
  const [live, liveBare]: [number[], number[]] = [[], []]
  const pushBare = () => seconds(() => repo.git('push', '--quiet', bare.url, 'HEAD:refs/heads/main'))
  await repeat(5, async (index) => {
    await repo.commit({ 'index.html': `version ${index}`, 'random.bin': randomBytes(100 * 1_048_576) })
    await repo.git('tag', `v${index}`)
    keptBare.push(await pushBare())
    kept.push(await seconds(() => repo.git('push', '--quiet', 'atelier', `v${index}`)))
    await repo.commit({ 'index.html': `live ${index}`, 'random.bin': randomBytes(100 * 1_048_576) })
    liveBare.push(await pushBare())
    live.push(await seconds(() => repo.push()))
  })
  await bare.close()
  const what = 'git http-backend'
  return [
    {
      what: 'push of 100 MB, checked and kept (a tag)',
      values: kept,
      unit: 's',
      target: '≤ 2 × bare',
      rival: { what, values: keptBare },
    },
    { what: 'push of 100 MB, built and live', values: live, unit: 's', rival: { what, values: liveBare } },
  ]
}

/** A bare repository served by git's own CGI program. */
class BareServer {
  readonly url: string
  readonly close: () => Promise<void>

  static async start(directory: string): Promise<BareServer> {
    const root = join(directory, 'served')
    await mkdir(root)
    await run('git', ['init', '--quiet', '--bare', join(root, 'bare.git')], { cwd: root, env: process.env })
    await writeFile(
      join(root, 'bare.git', 'config'),
      '[core]\n\trepositoryformatversion = 0\n\tbare = true\n[http]\n\treceivepack = true\n',
    )
    const server = createServer((request, response) => serve(root, request, response))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return new BareServer(`http://127.0.0.1:${port}/bare.git`, async () => {
      server.close()
      server.closeAllConnections()
    })
  }

  private constructor(url: string, close: () => Promise<void>) {
    this.url = url
    this.close = close
  }
}

// RFC 3875, as much of it as git's program asks for.
function serve(root: string, request: IncomingMessage, response: ServerResponse): void {
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: request.headers['content-type'],
      CONTENT_LENGTH: request.headers['content-length'],
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'],
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  request.pipe(child.stdin)
  let head = Buffer.alloc(0)
  const onHead = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return
    child.stdout.off('data', onHead)
    for (const line of head.toString('latin1', 0, end).split('\r\n')) {
      const [name = '', value = ''] = line.split(': ')
      if (name === 'Status') response.statusCode = Number(value.slice(0, 3))
      else response.setHeader(name, value)
    }
    response.write(head.subarray(end + 4))
    child.stdout.pipe(response)
  }
  child.stdout.on('data', onHead)
}
