import { createHash } from 'node:crypto'
import { Readable, Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createGunzip, createZstdCompress } from 'node:zlib'
import { Pack, Parser, type ReadEntry } from 'tar'
import type { Config } from '../config.ts'
import { AppError, messageOf } from '../errors.ts'
import { ArchiveCheck } from './archive-check.ts'

type Limits = Pick<Config['pushLimits'], 'packMb' | 'checkoutMb' | 'files' | 'idleTimeoutMs'>

const megabyte = 1_048_576

/**
 * Reads a .tar.gz and hands on a .tar.zst with the same regular files, folders and links, written afresh: what a careless or hostile
 * archiver put in besides (owners, devices, odd headers, bytes after the end) does not get through. Nothing is unpacked here. Returns the SHA-256 of what
 * is in it, as it is packed before it is compressed: the same for the same files in the same order, whenever they were written. Throws SOURCE_INVALID, REQUEST_TOO_LARGE, and what `keep` throws.
 */
export async function repackSource(
  body: Readable,
  limits: Limits,
  keep: (source: Readable) => Promise<void>,
): Promise<string> {
  const check = new ArchiveCheck({ files: limits.files, bytes: limits.checkoutMb * megabyte })
  // Entries come one by one from the parser; a limit on jobs under way would wait for itself.
  const pack = new Pack({ portable: true, noMtime: true, strict: true, jobs: Number.MAX_SAFE_INTEGER })
  // With a checksum: a source has no digest anywhere else, and must not be built from bytes that were damaged on the way.
  const source = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } })
  const hash = createHash('sha256')
  const hashed = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      hash.update(chunk)
      yield chunk
    }
  }
  const packed = pipeline(Readable.from(pack, { objectMode: false }), hashed, source)
  const kept = keep(source)
  const stop = new AbortController()
  for (const part of [packed, kept]) part.catch(() => stop.abort())
  try {
    await pipeline(
      body,
      new Meter(limits.packMb * megabyte, 'upload', limits.idleTimeoutMs),
      createGunzip(),
      new Meter(limits.checkoutMb * megabyte + 1024 * limits.files, 'unpacked source', null),
      new TarReader((entry) => {
        const path = check.admit(entry)
        if (path === null) entry.resume()
        else pack.add(Object.assign(entry, { path }))
      }),
      { signal: stop.signal },
    )
    check.finish()
    pack.end()
    await Promise.all([packed, kept])
    return hash.digest('hex')
  } catch (thrown) {
    const isOurs = stop.signal.aborted
    const error = translate(thrown)
    source.destroy(error)
    const [, keeping] = await Promise.allSettled([packed, kept])
    throw isOurs && keeping.status === 'rejected' ? keeping.reason : error
  }
}

/** Feeds tar's parser; takes no more than the entry at hand is read, and nothing after the archive's end. */
class TarReader extends Writable {
  readonly #parser: Parser
  #head: Buffer = Buffer.alloc(0)
  #isPlain = false
  #isOver = false

  constructor(onEntry: (entry: ReadEntry) => void) {
    super()
    this.#parser = new Parser({ strict: true, onReadEntry: (entry) => this.#guard(() => onEntry(entry)) })
    this.#parser.on('eof', () => {
      this.#isOver = true
    })
    this.#parser.on('ignoredEntry', (entry: ReadEntry) => {
      this.destroy(invalid(`${JSON.stringify(entry.path)} is neither a file, a folder nor a link`))
    })
    this.#parser.on('error', (error: unknown) => this.destroy(invalid(messageOf(error))))
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#isOver) done()
    else if (this.#isPlain) this.#parse(chunk, done)
    else this.#start(Buffer.concat([this.#head, chunk]), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#parser.once('end', () => done())
    this.#parser.end()
  }

  // The parser unpacks compressed archives by itself, past our limits.
  #start(head: Buffer, done: (error?: Error | null) => void): void {
    this.#head = head
    const magic = head.length < 4 ? 0 : head.readUInt32BE(0)
    if (magic >>> 16 === 0x1f8b || magic === 0x28b52ffd) done(invalid('it is compressed twice'))
    else if (head.length < 4) done()
    else {
      this.#isPlain = true
      this.#parse(head, done)
    }
  }

  #parse(chunk: Buffer, done: () => void): void {
    if (this.#parser.write(chunk)) done()
    else this.#parser.once('drain', () => done())
  }

  #guard(run: () => void): void {
    try {
      run()
    } catch (thrown) {
      this.destroy(thrown instanceof Error ? thrown : new Error(messageOf(thrown)))
    }
  }
}

/** Passes bytes on up to a limit, and not slower than one chunk every `idleTimeoutMs`. */
class Meter extends Transform {
  readonly #limit: number
  readonly #what: string
  readonly #idle: NodeJS.Timeout | null
  #seen = 0

  constructor(limit: number, what: string, idleTimeoutMs: number | null) {
    super()
    this.#limit = limit
    this.#what = what
    this.#idle = idleTimeoutMs === null ? null : setTimeout(() => this.#giveUp(idleTimeoutMs), idleTimeoutMs)
  }

  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null, data?: Buffer) => void,
  ): void {
    this.#idle?.refresh()
    this.#seen += chunk.length
    if (this.#seen <= this.#limit) done(null, chunk)
    else done(this.#tooLarge())
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#idle) clearTimeout(this.#idle)
    done(error)
  }

  #tooLarge(): AppError {
    const limitMb = Math.round(this.#limit / megabyte)
    return new AppError(
      'REQUEST_TOO_LARGE',
      `the ${this.#what} is larger than ${limitMb} MB; leave out what is built or installed`,
    )
  }

  #giveUp(idleTimeoutMs: number): void {
    this.destroy(invalid(`the upload stood still for ${idleTimeoutMs / 1000} s`))
  }
}

function translate(thrown: unknown): AppError {
  return thrown instanceof AppError ? thrown : invalid(messageOf(thrown), thrown)
}

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('SOURCE_INVALID', `the source is not a usable .tar.gz: ${why}`, { cause })
}
