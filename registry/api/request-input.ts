import type { z } from '@hono/zod-openapi'
import { AppError } from '../errors.ts'
import { problemsOf, problemText } from '../problem-text.ts'

/** Reads what came from outside with its schema. Throws REQUEST_INVALID naming every problem with its path. */
export function readWith<T>(schema: z.ZodType<T>, value: unknown, from: string): T {
  const read = schema.safeParse(value, { error: problemText({ value, isShown: !from.startsWith('body') }) })
  if (read.success) return read.data
  throw new AppError('REQUEST_INVALID', problemsOf(read.error, from).slice(0, 10).join('; '))
}

/** Whether the body is announced as JSON. */
export function isJson(request: Request): boolean {
  return /^application\/json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')
}

/** A JSON body of at most `maxBytes`. Throws REQUEST_TOO_LARGE, REQUEST_INVALID. */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  if (!isJson(request))
    throw new AppError('REQUEST_INVALID', 'the body must be JSON, with the header content-type: application/json')
  return parseJson(await readText(request, maxBytes))
}

/** Throws REQUEST_INVALID. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, refuseDangerousKeys)
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown
    throw new AppError('REQUEST_INVALID', 'the body is not valid JSON', { cause: thrown })
  }
}

/** A body of at most `maxBytes`, as text. Throws REQUEST_TOO_LARGE, REQUEST_INVALID. */
export async function readText(request: Request, maxBytes: number): Promise<string> {
  const tooLarge = () => new AppError('REQUEST_TOO_LARGE', `the body is larger than ${maxBytes} bytes`)
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.length
      if (size > maxBytes) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (thrown) {
    if (thrown instanceof AppError) throw thrown
    throw new AppError('REQUEST_INVALID', 'the body was cut off', { cause: thrown })
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

// Schemas drop unknown keys, and this one has no business in any request.
function refuseDangerousKeys(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new AppError('REQUEST_INVALID', 'the body holds the key __proto__')
  return value
}
