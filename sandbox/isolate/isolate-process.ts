// What a thread lacks of a process, given back to the app. Node builtins only.
import { writeSync } from 'node:fs'
import Module from 'node:module'
import os from 'node:os'
import { resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { getSystemErrorMessage } from 'node:util'
import workerThreads, { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads'

/**
 * `process.chdir` and `umask` act on the whole process, standard output and error are written at once to descriptors 1 and 2 (a
 * crash loses nothing), `process.argv[1]` is the entry, and the app believes itself on the main thread.
 */
export function actLikeAProcess(entry: string, host: MessagePort): void {
  process.argv[1] = entry
  process.chdir = (folder: string) => {
    const target = resolve(folder)
    const failure = ask(host, { chdir: target })
    if ('code' in failure) throw systemError(failure, 'chdir', process.cwd(), target)
  }
  const readUmask = process.umask
  process.umask = (mask?: number | string) => {
    if (mask === undefined) return readUmask()
    const answer = ask(host, { umask: typeof mask === 'string' ? Number.parseInt(mask, 8) : mask })
    return 'value' in answer ? answer.value : readUmask()
  }
  nameTheUser()
  writeAtOnce(process.stdout, 1)
  writeAtOnce(process.stderr, 2)
  Object.assign(workerThreads, { isMainThread: true, parentPort: null, workerData: null, threadId: 0 })
  Module.syncBuiltinESMExports()
}

type Answer = { value: number } | { code: string; errno: number }

function ask(host: MessagePort, call: { chdir: string } | { umask: number }): Answer {
  const { port1, port2 } = new MessageChannel()
  const done = new Int32Array(new SharedArrayBuffer(4))
  host.postMessage({ ...call, answer: port2, done }, [port2])
  Atomics.wait(done, 0, 0)
  const answer: Answer = receiveMessageOnPort(port1)?.message
  port1.close()
  return answer
}

function systemError(
  { code, errno }: { code: string; errno: number },
  syscall: string,
  path: string,
  dest: string,
): Error {
  const error = new Error(`${code}: ${getSystemErrorMessage(errno)}, ${syscall} ${path} -> '${dest}'`)
  return Object.assign(error, { errno, code, syscall, path, dest })
}

// The app's uid stands in no /etc/passwd, and os.userInfo() throws then.
function nameTheUser(): void {
  const { userInfo } = os
  const known = (): os.UserInfo<string> => {
    try {
      return userInfo()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1]
      return { username: 'app', uid, gid, shell: null, homedir: os.homedir() }
    }
  }
  Object.assign(os, { userInfo: known })
}

// A thread hands its output to the main thread, which may never come to write it; in a process a write has happened when write()
// returns. The stream object stays, for Node calls it by private names.
function writeAtOnce(stream: Writable, fd: number): void {
  Object.assign(stream, {
    fd,
    _writev(chunks: { chunk: string | Buffer; encoding: BufferEncoding }[], done: () => void) {
      for (const { chunk, encoding } of chunks) {
        writeAll(fd, typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk)
      }
      done()
    },
  })
}

const clock = new Int32Array(new SharedArrayBuffer(4))

function writeAll(fd: number, bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw error
      // The reader is behind, and somebody has made the descriptor non-blocking.
      Atomics.wait(clock, 0, 0, 2)
    }
  }
}
