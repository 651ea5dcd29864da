import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { run } from '../test/support/command.ts'
import { ask } from '../test/support/http.ts'
import { freePort, requireProgram } from '../test/support/machine.ts'
import { type Row, repeat } from './measure.ts'

const rounds = 3
const seconds = 5
const answer = `{ hello: 'world', this: 'is', an: 'answer', of: 'sixty-three', b: 1 }`

/** Requests per second of the same JSON handler: as a fetch app behind the whole edge, and as a Node server behind nginx, by turns. */
export async function measureEdge(atelier: Atelier): Promise<Row[]> {
  const wrk = await requireProgram('wrk')
  const app = await atelier.createApp('edge-fetch')
  const repo = await atelier.clone(app)
  await repo.commit({
    'index.js': `export default { fetch: () => Response.json(${answer}) }`,
    'package.json': '{"type":"module"}',
  })
  await repo.push()
  const rival = await NginxBeforeNode.start(await atelier.directory())
  const ours: number[] = []
  const theirs: number[] = []
  await repeat(rounds, async () => {
    ours.push(await requestsPerSecond(wrk, atelier.port, `${app.name}.apps.localhost`))
    theirs.push(await requestsPerSecond(wrk, rival.port, 'localhost'))
  })
  await rival.close()
  return [
    {
      what: 'fetch app through the whole edge (must / moonshot)',
      values: ours,
      unit: 'req/s',
      target: '≥ 0.75 / 1.1 × nginx → Node',
      rival: { what: 'nginx → Node', values: theirs },
    },
  ]
}

async function requestsPerSecond(wrk: string, port: number, host: string): Promise<number> {
  const args = ['-t1', '-c64', `-d${seconds}`, '-H', `Host: ${host}`, `http://127.0.0.1:${port}/`]
  const { stdout } = await run(wrk, args, { env: process.env })
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout)
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1])
}

class NginxBeforeNode {
  readonly port: number
  readonly close: () => Promise<void>

  static async start(directory: string): Promise<NginxBeforeNode> {
    const nginx = await requireProgram('nginx', ['nginx-light'])
    const port = await freePort()
    const [socket, conf] = [join(directory, 'node.sock'), join(directory, 'nginx.conf')]
    await mkdir(join(directory, 'tmp'))
    await writeFile(
      join(directory, 'server.mjs'),
      `import { createServer } from 'node:http'
       createServer((_, response) => {
         response.setHeader('content-type', 'application/json')
         response.end(JSON.stringify(${answer}))
       }).listen(${JSON.stringify(socket)})`,
    )
    await writeFile(conf, configuration(directory, socket, port))
    const node = spawn(process.execPath, [join(directory, 'server.mjs')], { stdio: 'inherit' })
    const front = spawn(nginx, ['-c', conf, '-p', directory], { stdio: 'inherit' })
    const isUp = () =>
      ask(port, 'localhost', '/').then(
        ({ status }) => status === 200,
        () => false,
      )
    for (let tries = 0; !(await isUp()); tries++) {
      if (tries > 200) throw new Error('nginx does not serve')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return new NginxBeforeNode(port, async () => {
      front.kill('SIGQUIT')
      node.kill('SIGTERM')
      await Promise.all([once(front, 'exit'), once(node, 'exit')])
    })
  }

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port
    this.close = close
  }
}

// As its handbook tunes it for this: kept-alive connections to the upstream, no access log.
function configuration(directory: string, socket: string, port: number): string {
  return `
    ${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; worker_processes auto; pid ${directory}/nginx.pid; error_log stderr crit;
    events { worker_connections 1024; }
    http {
      access_log off; client_body_temp_path ${directory}/tmp; proxy_temp_path ${directory}/tmp; fastcgi_temp_path ${directory}/tmp;
      uwsgi_temp_path ${directory}/tmp; scgi_temp_path ${directory}/tmp;
      upstream node { server unix:${socket}; keepalive 64; }
      server {
        listen 127.0.0.1:${port}; keepalive_requests 1000000;
        location / { proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
                     proxy_set_header X-Forwarded-For $remote_addr; }
      }
    }`
}
