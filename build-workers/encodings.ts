import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip, zstdCompress } from 'node:zlib'
import { z } from 'zod'
import type { Encoding } from '../registry/encodings.ts'
import { codeOf } from '../registry/errors.ts'
import { newId } from '../registry/ids.ts'
import { isCompressible } from './content-types.ts'

/** `content` null: made by an earlier build, and expected to be in the store. */
export type EncodedSibling = Encoding & { content: Buffer | null }

const smallestBytes = 512
const largestBytes = 16 * 1_048_576
// A sibling has to be worth its place in the store.
const worthwhile = 0.95

const encoders = {
  br: (bytes: Buffer) =>
    promisify(brotliCompress)(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    }),
  zstd: (bytes: Buffer) => promisify(zstdCompress)(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 5 } }),
  gzip: (bytes: Buffer) => promisify(gzip)(bytes, { level: 6 }),
}

/** The compressed siblings of a file that shrinks, made off this thread. */
export async function encode(content: Buffer, contentType: string): Promise<EncodedSibling[]> {
  if (!mayShrink(content.length, contentType)) return []
  const made = await Promise.all(
    (['br', 'zstd', 'gzip'] as const).map(async (encoding) => {
      const bytes = await encoders[encoding](content)
      return { encoding, sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length, content: bytes }
    }),
  )
  return made.filter(({ size }) => isWorthwhile(size, content.length))
}

export function isWorthwhile(size: number, plainSize: number): boolean {
  return size < plainSize * worthwhile
}

export function mayShrink(size: number, contentType: string): boolean {
  return size >= smallestBytes && size <= largestBytes && isCompressible(contentType)
}

/** What a file has got. `isFinal`: it does not get smaller. */
export type KnownForms = { forms: Encoding[]; isFinal: boolean }

const forms = z.array(z.object({ encoding: z.enum(['br', 'zstd', 'gzip']), sha256: z.string(), size: z.number() }))
const remembered = z.record(z.string(), z.object({ forms, isFinal: z.boolean() }))

/** Which siblings the files of an app's last build got, by digest: what has not changed is not compressed again. */
export class EncodingMemory {
  readonly #path: string
  readonly #known: Map<string, KnownForms>

  private constructor(path: string, known: Map<string, KnownForms>) {
    this.#path = path
    this.#known = known
  }

  static async open(path: string): Promise<EncodingMemory> {
    return new EncodingMemory(path, new Map(Object.entries(await readRemembered(path))))
  }

  recall(sha256: string): KnownForms | null {
    return this.#known.get(sha256) ?? null
  }

  /** Replaces what was known by the files of this build. */
  async keep(files: ({ sha256: string } & KnownForms)[]): Promise<void> {
    const known = Object.fromEntries(files.map(({ sha256, forms, isFinal }) => [sha256, { forms, isFinal }]))
    // Previews of one app are built side by side.
    const temporary = `${this.#path}.${newId()}`
    await mkdir(dirname(this.#path), { recursive: true })
    await writeFile(temporary, JSON.stringify(known))
    await rename(temporary, this.#path)
  }
}

async function readRemembered(path: string): Promise<Record<string, KnownForms>> {
  try {
    return remembered.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (thrown) {
    // Half a file after a crash, or an older form of it: everything is compressed once more.
    if (codeOf(thrown) === 'ENOENT' || thrown instanceof SyntaxError || thrown instanceof z.ZodError) return {}
    throw thrown
  }
}
