import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { chmod, copyFile, mkdir, rename } from 'node:fs/promises'
import { delimiter, join, sep } from 'node:path'
import { promisify } from 'node:util'
import { codeOf, messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'

/** What builds are told of the host's npm: where packages come from and which certificates to trust; never a token. */
export type HostNpm = {
  registry: string
  cafile: string | null
  extraCa: string | null
  /** Proxies that its settings name; they may carry credentials, and are the platform's to use, not the builds'. */
  proxies: { http: string | null; https: string | null }
}

const defaultRegistry = 'https://registry.npmjs.org/'
const nothingSet = { registry: defaultRegistry, cafile: null, proxies: { http: null, https: null } }

/** The same, asked once, when it is first needed: asking takes half a second. */
export function hostNpmOnce(
  env: Record<string, string | undefined>,
  deps: { toolsDir: string; log: Log },
): () => Promise<HostNpm> {
  let asked: Promise<HostNpm> | null = null
  return () => {
    asked ??= readHostNpm(env, deps).catch((thrown: unknown) => {
      asked = null
      throw thrown
    })
    return asked
  }
}

/**
 * Asks the host's own npm (not the one the platform brings, which does not know the host's npmrc files) for its registry and CA file, and
 * copies the certificates to where every build may read them.
 */
export async function readHostNpm(
  env: Record<string, string | undefined>,
  { toolsDir, log }: { toolsDir: string; log: Log },
): Promise<HostNpm> {
  const { registry, cafile, proxies } = await askNpm(env, log)
  await mkdir(toolsDir, { recursive: true, mode: 0o755 })
  const extra = env['NODE_EXTRA_CA_CERTS'] || cafile
  return {
    registry,
    cafile: cafile ? await copyCertificates(cafile, join(toolsDir, 'npm-ca.pem'), log) : null,
    proxies,
    extraCa: extra ? await copyCertificates(extra, join(toolsDir, 'extra-ca.pem'), log) : null,
  }
}

/** The environment with the proxies of npm's settings where it names none itself. */
export function withNpmProxies(
  env: Record<string, string | undefined>,
  { http, https }: HostNpm['proxies'],
): Record<string, string | undefined> {
  return {
    ...env,
    ...(http && !env['HTTP_PROXY'] && !env['http_proxy'] && { http_proxy: http }),
    ...(https && !env['HTTPS_PROXY'] && !env['https_proxy'] && { https_proxy: https }),
  }
}

async function askNpm(env: Record<string, string | undefined>, log: Log): Promise<Omit<HostNpm, 'extraCa'>> {
  const npm = findHostNpm(env['PATH'] ?? '')
  if (!npm) return nothingSet
  try {
    const { stdout } = await promisify(execFile)(npm, ['config', 'get', 'registry', 'cafile', 'proxy', 'https-proxy'], {
      timeout: 10_000,
      cwd: '/',
    })
    const registry = /^registry=(https?:\/\/\S+)$/m.exec(stdout)?.[1]
    const cafile = /^cafile=(\/.*)$/m.exec(stdout)?.[1]
    const proxy = (name: string) => new RegExp(`^${name}=(https?://\\S+)$`, 'm').exec(stdout)?.[1] ?? null
    return {
      registry: withoutCredentials(registry ?? defaultRegistry),
      cafile: cafile ?? null,
      proxies: { http: proxy('proxy'), https: proxy('https-proxy') },
    }
  } catch (thrown) {
    log.warn({ err: messageOf(thrown) }, 'host npm settings not read, using the public registry')
    return nothingSet
  }
}

function findHostNpm(path: string): string | null {
  const folders = path.split(delimiter).filter((folder) => folder && !folder.split(sep).includes('node_modules'))
  return folders.map((folder) => join(folder, 'npm')).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch (thrown) {
    if (['ENOENT', 'EACCES', 'ENOTDIR'].includes(codeOf(thrown) ?? '')) return false
    throw thrown
  }
}

function withoutCredentials(registry: string): string {
  const url = new URL(registry)
  url.username = ''
  url.password = ''
  return url.href
}

async function copyCertificates(from: string, to: string, log: Log): Promise<string | null> {
  try {
    const temporary = `${to}.${process.pid}`
    await copyFile(from, temporary)
    await chmod(temporary, 0o644)
    await rename(temporary, to)
    return to
  } catch (thrown) {
    log.warn({ err: messageOf(thrown), file: from }, 'certificates not read, builds do without them')
    return null
  }
}
