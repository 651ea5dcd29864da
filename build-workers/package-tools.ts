import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { get as getHttp, Agent as HttpAgent, type IncomingMessage } from 'node:http'
import { get as getHttps, Agent as HttpsAgent } from 'node:https'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
import { Unpack } from 'tar'
import { z } from 'zod'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'
import { type HostNpm, withNpmProxies } from './host-npm.ts'
import type { PackageManager } from './package-manager.ts'

/** How to run a package manager: its file, with Node unless it is a program of its own. */
export type Tool = { file: string; isScript: boolean }

export type ToolDeps = { toolsDir: string; npm: HostNpm }

const metadata = z.object({
  bin: z.union([z.string(), z.record(z.string(), z.string())]).optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
  dist: z.object({ tarball: z.url(), integrity: z.string().optional() }),
})

const maxTarballBytes = 200 * 1_048_576
const timeoutMs = 60_000
// By place: several builds may want the same at once, and none of them ends it for the others.
const fetching = new Map<string, Promise<Tool>>()

/**
 * The package manager a project asks for, fetched once from the host's npm registry into `toolsDir` and checked against the registry's digest
 * and the one in package.json. The platform fetches it itself: a build could leave another program there for the next app.
 * Throws INSTALL_FAILED when it cannot be had.
 */
export async function fetchTool(manager: PackageManager, deps: ToolDeps): Promise<Tool> {
  const { name, version, isBerry, digest } = manager
  if (!version) throw new AppError('INTERNAL', `${name} needs a version to be fetched`)
  const place = join(deps.toolsDir, `${name}@${version}`)
  const kept = await readTool(place, name)
  if (kept) return kept

  const known = fetching.get(place)
  if (known) return known
  const packageName = name === 'bun' ? bunPackage() : isBerry ? '@yarnpkg/cli-dist' : name
  const task = fetchPackage({ packageName, version, digest, place }, deps)
    .then(() => readTool(place, name))
    .then(
      (tool) => tool ?? Promise.reject(new AppError('INSTALL_FAILED', `${name}@${version} holds no program ${name}`)),
    )
    .finally(() => fetching.delete(place))
  fetching.set(place, task)
  return task
}

// Its program for this machine; the package `bun` only looks for it while it is installed.
function bunPackage(): string {
  return `@oven/bun-${process.platform}-${process.arch === 'arm64' ? 'aarch64' : process.arch}`
}

type Wanted = { packageName: string; version: string; digest: string | null; place: string }

async function fetchPackage({ packageName, version, digest, place }: Wanted, deps: ToolDeps): Promise<void> {
  const making = join(deps.toolsDir, `.making-${randomUUID()}`)
  try {
    await mkdir(making, { recursive: true, mode: 0o755 })
    const described = await download(packageName, version, digest, making, deps)
    // Newer pnpm is a program for each platform, in a package of its own.
    const native = `@pnpm/exe.${process.platform}-${process.arch}`
    const nativeVersion = described.optionalDependencies?.[native]
    if (nativeVersion) await download(native, nativeVersion, null, join(making, 'native'), deps)
    await rename(making, place)
  } catch (thrown) {
    if (codeOf(thrown) !== 'ENOTEMPTY' && codeOf(thrown) !== 'EEXIST') throw thrown
  } finally {
    await rm(making, { recursive: true, force: true })
  }
}

async function download(
  name: string,
  version: string,
  digest: string | null,
  into: string,
  deps: ToolDeps,
): Promise<z.infer<typeof metadata>> {
  try {
    const found = await persist(() =>
      request(new URL(`${name.replace('/', '%2f')}/${version}`, deps.npm.registry), deps),
    )
    const described = metadata.parse(JSON.parse(found.toString('utf8')))
    const tarball = await persist(() => request(new URL(described.dist.tarball), deps))
    checkDigests(tarball, described.dist.integrity, digest)
    await mkdir(into, { recursive: true, mode: 0o755 })
    await pipeline(Readable.from([tarball]), createGunzip(), unpackInto(into))
    return described
  } catch (cause) {
    throw new AppError('INSTALL_FAILED', `install failed: ${name}@${version} cannot be fetched: ${messageOf(cause)}`, {
      cause,
    })
  }
}

// Its files are read and run by every build, so their modes are ours to say.
function unpackInto(folder: string): Unpack {
  return new Unpack({
    cwd: folder,
    strip: 1,
    strict: true,
    preserveOwner: false,
    umask: 0o022,
    noMtime: true,
    filter: (_, entry) => 'type' in entry && (entry.type === 'File' || entry.type === 'Directory'),
  })
}

function checkDigests(bytes: Buffer, integrity: string | undefined, demanded: string | null): void {
  const [algorithm, expected] = /^(sha512|sha384|sha256|sha1)-(\S+)/.exec(integrity ?? '')?.slice(1) ?? []
  if (!algorithm || createHash(algorithm).update(bytes).digest('base64') !== expected)
    throw new AppError('INSTALL_FAILED', 'the registry sent other bytes than it promised')
  const [form, hex] = demanded?.split('.') ?? []
  if (form && createHash(form).update(bytes).digest('hex') !== hex)
    throw new AppError('INSTALL_FAILED', 'it is not the one that packageManager in package.json demands')
}

class Refused extends Error {}

const pausesMs = [500, 2000]

// A registry that is away for a moment is asked again; what it refuses it will refuse again.
async function persist<T>(ask: () => Promise<T>): Promise<T> {
  for (const pauseMs of pausesMs) {
    try {
      return await ask()
    } catch (thrown) {
      if (thrown instanceof Refused) throw thrown
      await setTimeout(pauseMs)
    }
  }
  return ask().catch((cause: unknown) => {
    throw cause instanceof Refused ? cause : new Error(`${messageOf(cause)}, asked three times`, { cause })
  })
}

async function request(url: URL, { npm }: Pick<ToolDeps, 'npm'>, redirects = 3): Promise<Buffer> {
  const ca = npm.cafile ? await readFile(npm.cafile) : undefined
  const response = await new Promise<IncomingMessage>((answered, failed) => {
    const options = {
      ca,
      signal: AbortSignal.timeout(timeoutMs),
      headers: { accept: 'application/json, application/octet-stream' },
    }
    // Through the host's proxy, where it has one.
    const agent = { proxyEnv: withNpmProxies(process.env, npm.proxies) }
    const asked =
      url.protocol === 'https:'
        ? getHttps(url, { ...options, agent: new HttpsAgent(agent) }, answered)
        : getHttp(url, { ...options, agent: new HttpAgent(agent) }, answered)
    asked.once('error', failed)
  })
  const { statusCode = 0, headers } = response
  if (statusCode >= 300 && statusCode < 400 && headers.location && redirects > 0) {
    response.resume()
    return request(new URL(headers.location, url), { npm }, redirects - 1)
  }
  if (statusCode !== 200) {
    response.resume()
    const answer = `${url.host} answered ${statusCode}`
    throw statusCode < 500 ? new Refused(answer) : new Error(answer)
  }
  if (Number(headers['content-length'] ?? 0) > maxTarballBytes) throw new Refused(`${url.host} sent too much`)
  return buffer(response)
}

async function readTool(place: string, name: string): Promise<Tool | null> {
  for (const native of [join(place, 'native', name), join(place, 'bin', name)])
    if ((name === 'bun' || native.includes('/native/')) && (await isFile(native)))
      return { file: native, isScript: false }
  try {
    const { bin } = metadata.pick({ bin: true }).parse(JSON.parse(await readFile(join(place, 'package.json'), 'utf8')))
    const path = typeof bin === 'string' ? bin : bin?.[name]
    return path ? { file: join(place, path), isScript: true } : null
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return null
    throw thrown
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (thrown) {
    if (codeOf(thrown) === 'ENOENT') return false
    throw thrown
  }
}
