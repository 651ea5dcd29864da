import { constants as os, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import {
  brotliCompressSync,
  brotliDecompressSync,
  constants,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib'

export type BestForm = { encoding: 'br' | 'zstd' | 'gzip'; content: Uint8Array }

// On Linux a thread has a priority of its own: this one takes what builds and apps leave of one core.
setPriority(0, os.priority.PRIORITY_LOW)

parentPort?.on('message', (content: Uint8Array) => {
  const made: BestForm[] = [
    { encoding: 'br', content: brotli(content) },
    { encoding: 'zstd', content: zstdCompressSync(content, { params: { [constants.ZSTD_c_compressionLevel]: 19 } }) },
    { encoding: 'gzip', content: gzipSync(content, { level: 9 }) },
  ]
  parentPort?.postMessage(made.filter((form) => decode(form).equals(content)))
})

function brotli(content: Uint8Array): Uint8Array {
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT, BROTLI_PARAM_LGWIN } = constants
  return brotliCompressSync(content, {
    params: { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_SIZE_HINT]: content.length, [BROTLI_PARAM_LGWIN]: 22 },
  })
}

// What is served in place of a file for as long as it lives has been read back once.
function decode({ encoding, content }: BestForm): Buffer {
  if (encoding === 'br') return brotliDecompressSync(content)
  return encoding === 'zstd' ? zstdDecompressSync(content) : gunzipSync(content)
}
