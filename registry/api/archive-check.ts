import { AppError } from '../errors.ts'

/** What is looked at of a tar entry. */
export type ArchiveEntry = { path: string; type: string; size: number; linkpath?: string }

/** Folders that are never part of a source: git's own (with its hooks and config), and what an install puts there again. */
const leftOut = new Set(['.git', 'node_modules'])

/**
 * The filter every entry of an uploaded archive passes: regular files, folders, and relative links that stay inside. Nothing may stand
 * twice or below a link, so what is written always lies where its name says. Throws SOURCE_INVALID, REQUEST_TOO_LARGE.
 */
export class ArchiveCheck {
  readonly #limits: { files: number; bytes: number }
  readonly #kinds = new Map<string, 'file' | 'folder' | 'link'>()
  #bytes = 0
  #files = 0

  constructor(limits: { files: number; bytes: number }) {
    this.#limits = limits
  }

  /** The entry's plain path, or null for what is left out. */
  admit(entry: ArchiveEntry): string | null {
    const path = this.#readPath(entry)
    if (path === null) return null
    const parts = path.split('/')
    if (parts.some((part) => leftOut.has(part.toLowerCase()))) return null

    const kind = kindOf(entry)
    this.#place(path, parts, kind)
    if (kind === 'link') refuseEscape(path, entry.linkpath ?? '')
    this.#count(kind, entry.size)
    return path
  }

  /** Throws SOURCE_INVALID when there was nothing to deploy. */
  finish(): void {
    if (this.#files === 0) throw invalid('it holds no files')
  }

  #readPath({ path, type }: ArchiveEntry): string | null {
    const bare = path.replace(/^(\.\/+)+/, '').replace(/\/+$/, '')
    if (bare === '' || bare === '.') {
      if (type === 'Directory') return null
      throw invalid(`${quote(path)} has no name`)
    }
    if (bare.length > 1024) throw invalid(`${quote(path)} is longer than 1024 characters`)
    if (/[\p{Cc}\\]/u.test(bare)) throw invalid(`${quote(path)} has a control character or a backslash in its name`)
    if (bare.startsWith('/')) throw invalid(`${quote(path)} is an absolute path`)
    if (bare.split('/').some((part) => part === '' || part === '.' || part === '..'))
      throw invalid(`${quote(path)} is not a plain relative path`)
    return bare
  }

  #place(path: string, parts: string[], kind: 'file' | 'folder' | 'link'): void {
    for (let length = 1; length < parts.length; length += 1) {
      const above = parts.slice(0, length).join('/')
      const kindAbove = this.#kinds.get(above) ?? 'folder'
      if (kindAbove !== 'folder') throw invalid(`${quote(path)} lies below ${quote(above)}, which is a ${kindAbove}`)
      this.#kinds.set(above, 'folder')
    }
    const before = this.#kinds.get(path)
    if (before && !(before === 'folder' && kind === 'folder')) throw invalid(`${quote(path)} is in it twice`)
    this.#kinds.set(path, kind)
  }

  #count(kind: 'file' | 'folder' | 'link', size: number): void {
    if (kind !== 'folder') this.#files += 1
    this.#bytes += kind === 'file' ? size : 0
    const { files, bytes } = this.#limits
    if (this.#kinds.size > 2 * files || this.#files > files)
      throw new AppError(
        'REQUEST_TOO_LARGE',
        `the source has more than ${files} files; leave out what is built or installed`,
      )
    if (this.#bytes > bytes)
      throw new AppError(
        'REQUEST_TOO_LARGE',
        `the source is larger than ${Math.round(bytes / 1_048_576)} MB; leave out what is built or installed`,
      )
  }
}

function kindOf({ path, type }: ArchiveEntry): 'file' | 'folder' | 'link' {
  if (type === 'File' || type === 'OldFile' || type === 'ContiguousFile') return 'file'
  if (type === 'Directory') return 'folder'
  if (type === 'SymbolicLink') return 'link'
  const what = type === 'Link' ? 'a hard link' : `of the kind ${type}`
  throw invalid(`${quote(path)} is ${what}; only files, folders and symbolic links are taken`)
}

// `..` may only lead: folders above an entry are real ones, but `link/..` is wherever the link leads.
function refuseEscape(path: string, target: string): void {
  if (target === '' || target.length > 1024 || /[\p{Cc}\\]/u.test(target))
    throw invalid(`${quote(path)} links to nothing usable`)
  const [climb = ''] = /^(\.\.?\/+|\.\.?$)*/.exec(target) ?? []
  const depth = path.split('/').length - 1
  const up = climb.split('/').filter((part) => part === '..').length
  const rest = target.slice(climb.length).split('/')
  if (target.startsWith('/') || up > depth || rest.includes('..'))
    throw invalid(`${quote(path)} links to ${quote(target)}, outside of the source`)
}

function invalid(why: string): AppError {
  return new AppError('SOURCE_INVALID', `the source cannot be taken: ${why}`)
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 200))
}
