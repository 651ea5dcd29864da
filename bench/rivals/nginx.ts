import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/machine.ts'
import type { Backend } from './node.ts'
import { type Missing, type Rival, rivalProgram, runRival, startRival } from './rival.ts'

/** nginx before a Node server. As its handbook tunes it for this: connections to the upstream are kept alive. */
export function nginxBefore(what: string, directory: string, backend: Backend): Promise<Rival | Missing> {
  return startNginx(what, directory, { http: upstream(backend), location: pass }, { backend })
}

/** The same with proxy_cache: one miss at a time, as the platform collapses them. */
export function nginxCacheBefore(what: string, directory: string, backend: Backend): Promise<Rival | Missing> {
  const http = `${upstream(backend)} proxy_cache_path ${directory}/cache keys_zone=cache:10m max_size=100m inactive=10m use_temp_path=off;`
  return startNginx(what, directory, { http, location: `${pass} proxy_cache cache; proxy_cache_lock on;` }, { backend })
}

/** nginx with files of a folder; as its handbook tunes it for this: sendfile, whole packets, open files remembered. */
export function nginxFiles(what: string, directory: string, root: string, path: string): Promise<Rival | Missing> {
  const location = `root ${root}; sendfile on; tcp_nopush on; open_file_cache max=1000; open_file_cache_valid 60s;`
  return startNginx(what, directory, { http: 'include /etc/nginx/mime.types;', location }, { path })
}

function startNginx(
  what: string,
  directory: string,
  { http, location }: { http: string; location: string },
  run: { backend?: Backend; path?: string },
): Promise<Rival | Missing> {
  return startRival(what, async () => {
    const nginx = await rivalProgram('nginx', ['nginx-light'])
    const port = await freePort()
    const conf = join(directory, 'nginx.conf')
    await mkdir(join(directory, 'tmp'), { recursive: true })
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${directory}/tmp;`,
    )
    await writeFile(
      conf,
      `${process.getuid?.() === 0 ? 'user root;' : ''}
      daemon off; worker_processes auto; pid ${directory}/nginx.pid; error_log stderr crit;
      events { worker_connections 1024; }
      http {
        access_log off; keepalive_requests 1000000; ${temporary.join(' ')} ${http}
        server { listen 127.0.0.1:${port}; location / { ${location} } }
      }`,
    )
    return runRival(port, { file: nginx, args: ['-c', conf, '-p', directory, '-e', 'stderr'] }, run)
  })
}

const upstream = ({ socket }: Backend) => `upstream node { server unix:${socket}; keepalive 64; }`

const pass = `proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;`
