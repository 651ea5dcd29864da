// The thread in which pg_dump runs, as WebAssembly: it asks and is answered at once, so the thread waits while dump-schema.ts carries it to the server and back.
import { pathToFileURL } from 'node:url'
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { pgDump } from '@electric-sql/pglite-tools/pg_dump'
import { QuestionReader } from './dump-schema-replies.ts'

const { module, args, port, turn }: { module: string; args: string[]; port: MessagePort; turn: Int32Array } = workerData
const questions = new QuestionReader()

// What pg_dump uses of a PGlite. It asks for the search path to put it back, which is of no use to a session that ends.
const server = {
  query: async () => ({ rows: [{ search_path: '' }] }),
  exec: async () => [],
  execProtocolRawStream(asked: Uint8Array, { onRawData }: { onRawData: (reply: Uint8Array) => void }): void {
    Atomics.store(turn, 0, 0)
    const waits = questions.push(asked)
    // A view of its memory, which it uses again.
    port.postMessage(Uint8Array.from(asked))
    if (!waits) return
    Atomics.wait(turn, 0, 0)
    const reply: Uint8Array = receiveMessageOnPort(port)?.message
    onRawData(reply)
  },
}

try {
  const dumper: { pgDump: typeof pgDump } = await import(pathToFileURL(module).href)
  const file = await dumper.pgDump({ pg: server as unknown as Parameters<typeof pgDump>[0]['pg'], args })
  parentPort?.postMessage({ text: await file.text() })
} catch (thrown) {
  parentPort?.postMessage({ failed: thrown instanceof Error ? thrown.message : String(thrown) })
}
