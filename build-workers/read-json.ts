import type { z } from 'zod'

/** What a file holds as far as the schema takes it; null: it is not there, no JSON, or something else. */
export function readJson<T>(schema: z.ZodType<T>, text: string | null): T | null {
  if (text === null) return null
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}
