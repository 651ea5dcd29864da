import { once } from 'node:events'
import { access, constants, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { codeOf } from '../../registry/errors.ts'
import { run } from './command.ts'

// Below the ports that the kernel gives to whoever asks for any (Linux from 32,768 on, macOS from 49,152): what is free now would be taken by one of
// thousands of connections before it is used. Test files that run side by side have a thousand each.
const lowestPort = 15_000
const slice = 1_000
const worker = Number(process.env['VITEST_POOL_ID'] ?? 0) % 17
let next = Math.floor(Math.random() * slice)

/** A TCP port that is free now, and that nobody else is given. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < slice; tries++) {
    const port = lowestPort + worker * slice + (next++ % slice)
    if (await isFree(port)) return port
  }
  throw new Error('no port is free')
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    await once(server.listen(port), 'listening')
    return true
  } catch (thrown) {
    if (codeOf(thrown) === 'EADDRINUSE') return false
    throw thrown
  } finally {
    await new Promise((closed) => server.close(closed))
  }
}

/** Where a program is, or null. */
export async function findProgram(...names: string[]): Promise<string | null> {
  const directories = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  for (const path of names.flatMap((name) => directories.map((directory) => join(directory, name)))) {
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  return null
}

/**
 * Where a program is. Root on Debian gets its packages installed when it is missing, one test file at a time. Throws a sentence that says what
 * to install.
 */
export async function requireProgram(program: string, packages: string[] = [program]): Promise<string> {
  const isThere = await findProgram(program)
  if (isThere) return isThere
  if (process.getuid?.() === 0 && (await findProgram('apt-get'))) await installPackages(packages)
  const installed = await findProgram(program)
  if (installed) return installed
  throw new Error(`this test needs ${program}; install it (Debian: apt-get install ${packages.join(' ')})`)
}

// The package lists may be old or missing: asked for only when the first try fails.
async function installPackages(packages: string[]): Promise<void> {
  process.stderr.write(`installing ${packages.join(' ')} for the tests, once\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args: string[]) => run('flock', ['/var/lock/atelier-tests-apt', 'apt-get', ...args], { env })
  const install = () => apt('-o', 'DPkg::Lock::Timeout=300', 'install', '-qy', '--no-install-recommends', ...packages)
  // Debian starts the services it installs; the tests start their own, on ports of their own.
  const policy = '/usr/sbin/policy-rc.d'
  const isOurs = await writeFile(policy, '#!/bin/sh\nexit 101\n', { flag: 'wx', mode: 0o755 }).then(
    () => true,
    () => false,
  )
  try {
    if ((await install()).code === 0) return
    await apt('update', '-q')
    await install()
  } finally {
    if (isOurs) await rm(policy, { force: true })
  }
}
