import { realpath, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { z } from '@hono/zod-openapi'
import { create } from 'tar'
import { AppError, codeOf } from '../errors.ts'
import { isPlatformAdmin } from '../rights.ts'
import type { Call } from './call.ts'
import { line } from './fields.ts'

/** A folder on the machine of the API. */
export const serverFolder = z
  .strictObject({
    path: line(1000).openapi({
      description: 'for admins, below a folder that ATELIER_SOURCE_ROOTS names on the server',
      example: '/srv/sites/marketing',
    }),
  })
  .openapi('ServerFolder')

/**
 * A folder of the server as .tar.gz, for the same checks an upload passes. Throws FORBIDDEN to all but admins, and SOURCE_INVALID for what is no folder below one of
 * the roots; which of the two it is not, is not said.
 */
export async function openServerFolder(
  path: string,
  { caller, config }: Pick<Call, 'caller' | 'config'>,
): Promise<Readable> {
  if (!isPlatformAdmin(caller))
    throw new AppError('FORBIDDEN', `${caller.name} may not deploy folders of the server; an admin may`)
  const folder = await realFolder(path)
  const roots = await Promise.all(config.sourceRoots.map(realFolder))
  if (folder === null || !roots.some((root) => root !== null && `${folder}/`.startsWith(`${root}/`)))
    throw new AppError('SOURCE_INVALID', `${path} is no folder that ATELIER_SOURCE_ROOTS on the server allows`)
  const isWanted = (name: string) => !/(^|\/)(node_modules|\.git)(\/|$)/.test(name)
  const packed = create({ cwd: folder, gzip: { level: 1 }, portable: true, filter: isWanted }, ['.'])
  return Readable.from(packed, { objectMode: false })
}

// As it is reached in the end: a link out of a root is not in it.
async function realFolder(path: string): Promise<string | null> {
  try {
    const real = await realpath(path)
    return (await stat(real)).isDirectory() ? real : null
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENAMETOOLONG'].includes(codeOf(thrown) ?? '')) return null
    throw thrown
  }
}
