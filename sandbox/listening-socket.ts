import { randomBytes } from 'node:crypto'
import { lstatSync, renameSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { AppError, codeOf, messageOf } from '../registry/errors.ts'
import { createLog } from '../registry/log.ts'

// sockaddr_un.sun_path holds 108 bytes, the last of them NUL: unix(7).
export const maxSocketPathBytes = 107

/**
 * A unix socket bound for a child to accept on. It exists under a temporary name until `publish`; `release` closes this
 * process's copy and leaves the name in place; `remove` takes the name away unless a later socket stands under it.
 */
export class ListeningSocket {
  readonly path: string
  readonly descriptor: number
  readonly #server: Server
  readonly #temporaryPath: string
  #inode = 0n

  /** Throws SANDBOX_FAILED, naming the path, when it is too long or cannot be bound. */
  static async bind(path: string): Promise<ListeningSocket> {
    const temporaryPath = join(dirname(path), `.${randomBytes(3).toString('hex')}`)
    const longest = Math.max(Buffer.byteLength(path), Buffer.byteLength(temporaryPath))
    if (longest > maxSocketPathBytes)
      throw new AppError(
        'SANDBOX_FAILED',
        `the socket path ${path} has ${longest} bytes, the system allows ${maxSocketPathBytes}; choose a shorter ATELIER_HOME`,
      )
    const server = createServer()
    await new Promise<void>((bound, failed) => {
      server.once('error', (cause) =>
        failed(new AppError('SANDBOX_FAILED', `cannot bind ${path}: ${messageOf(cause)}`, { cause })),
      )
      server.listen(temporaryPath, bound)
    })
    return new ListeningSocket(path, temporaryPath, server)
  }

  private constructor(path: string, temporaryPath: string, server: Server) {
    this.path = path
    this.#temporaryPath = temporaryPath
    this.#server = server
    this.descriptor = descriptorOf(server)
  }

  /** Moves the socket to its path, in place of an earlier one. */
  publish(): void {
    renameSync(this.#temporaryPath, this.path)
    this.#inode = lstatSync(this.path, { bigint: true }).ino
  }

  // Closing a pipe server unlinks the name it was bound under, which is why `publish` renames. To be called in the turn of the
  // event loop that published: in a later one this process would accept connections itself.
  release(): void {
    this.#server.close()
  }

  remove(): void {
    try {
      if (lstatSync(this.path, { bigint: true }).ino === this.#inode) rmSync(this.path)
    } catch (thrown) {
      if (codeOf(thrown) === 'ENOENT') return
      createLog('sandbox').warn({ path: this.path, error: messageOf(thrown) }, 'cannot remove a socket')
    }
  }
}

// Node has no public way to a server's descriptor; handing the server itself to spawn() rests on the same field.
function descriptorOf(server: Server): number {
  const handle: unknown = Reflect.get(server, '_handle')
  if (typeof handle === 'object' && handle !== null && 'fd' in handle && typeof handle.fd === 'number') return handle.fd
  throw new AppError('SANDBOX_FAILED', 'this version of Node hides the descriptor of a listening socket')
}
