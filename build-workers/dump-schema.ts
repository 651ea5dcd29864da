// Runs in the sandbox, in a network with the one database at DATABASE_URL, with node builtins only: writes what pg_dump says of its schema into files, `pre-data.sql`
// before any row is there and `post-data.sql` after. Arguments: the module that is pg_dump, the snapshot to look at, the folder. pg_dump asks and waits in a thread
// of its own; the connection is here.
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { MessageChannel, Worker } from 'node:worker_threads'
import { ReplyReader } from './dump-schema-replies.ts'

const [module = '', snapshot = '', folder = ''] = process.argv.slice(2)
const { hostname, port, username, password, pathname } = new URL(process.env['DATABASE_URL'] ?? '')
const database = [
  `host=${hostname} port=${port} user=${username} dbname=${pathname.slice(1)}`,
  `password=${decodeURIComponent(password)} client_encoding=UTF8`,
].join(' ')

try {
  await Promise.all(['pre-data', 'post-data'].map(dump))
} catch (thrown) {
  console.error(thrown instanceof Error ? thrown.message : thrown)
  process.exitCode = 1
}

async function dump(section: string): Promise<void> {
  const { port1: here, port2: there } = new MessageChannel()
  const turn = new Int32Array(new SharedArrayBuffer(4))
  const socket = connect(Number(port), hostname)
  const reply = (bytes: Buffer) => {
    here.postMessage(bytes)
    Atomics.store(turn, 0, 1)
    Atomics.notify(turn, 0)
  }
  answer(socket, reply)
  // Nothing: there is no more to come.
  here.on('message', (asked: Uint8Array) => (socket.destroyed ? reply(Buffer.alloc(0)) : socket.write(asked)))
  const own = ['--no-owner', '--no-privileges', '--no-tablespaces', '--no-subscriptions', `--snapshot=${snapshot}`]
  const worker = new Worker(new URL('./dump-schema.worker.mjs', import.meta.url), {
    workerData: { module, args: [`--section=${section}`, ...own, `--dbname=${database}`], port: there, turn },
    transferList: [there],
  })
  try {
    writeFileSync(join(folder, `${section}.sql`), await saidBy(worker), { mode: 0o600 })
  } finally {
    socket.destroy()
    here.close()
  }
}

function answer(socket: Socket, reply: (bytes: Buffer) => void): void {
  const reader = new ReplyReader()
  let parts: Buffer[] = []
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('close', () => reply(Buffer.concat(parts)))
  socket.on('data', (chunk: Buffer) => {
    parts.push(chunk)
    if (!reader.push(chunk)) return
    reply(Buffer.concat(parts))
    parts = []
  })
}

function saidBy(worker: Worker): Promise<string> {
  return new Promise((resolve, reject) => {
    worker.once('message', (said: { text: string } | { failed: string }) =>
      'text' in said ? resolve(said.text) : reject(new Error(said.failed)),
    )
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('pg_dump ended without a word')))
  })
}
