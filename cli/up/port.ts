import { once } from 'node:events'
import { createServer } from 'node:net'
import { AppError, codeOf } from '../../registry/errors.ts'

/** Throws PORT_IN_USE, with the way out, when the port cannot be listened on; asked before anything is started. */
export async function refuseBusyPort(port: number): Promise<void> {
  const server = createServer()
  try {
    server.listen(port)
    await once(server, 'listening')
    server.close()
    await once(server, 'close')
  } catch (cause) {
    throw new AppError('PORT_IN_USE', sentenceFor(port, codeOf(cause)), { cause })
  }
}

function sentenceFor(port: number, code: string | undefined): string {
  if (code === 'EACCES')
    return `port ${port} is for root only on this machine; start as root, or choose one with ATELIER_HTTP_PORT`
  if (code === 'EADDRINUSE')
    return `port ${port} is taken by another program; stop it, or choose one with ATELIER_HTTP_PORT`
  return `port ${port} cannot be listened on (${code}); choose one with ATELIER_HTTP_PORT`
}
