import { z } from '@hono/zod-openapi'
import { expect, test } from 'vitest'
import { readWith } from './request-input.ts'

const schema = z.strictObject({
  password: z.string().min(8).max(20).optional(),
  name: z.string().min(1).optional(),
  most: z.int().min(1).max(1000).optional(),
  sha: z.string().min(40, 'must be a whole commit id').optional(),
})

test.each([
  [{ password: 'geheim' }, 'body.password: must have at least 8 characters'],
  [{ password: 'x'.repeat(21) }, 'body.password: must have at most 20 characters'],
  [{ name: '' }, 'body.name: must have at least 1 character'],
  [{ most: 0 }, 'body.most: must be at least 1'],
  [{ most: 1001 }, 'body.most: must be at most 1000'],
  [{ sha: 'abc' }, 'body.sha: must be a whole commit id'],
  [{ password: '', most: 0 }, 'body.password: must have at least 8 characters; body.most: must be at least 1'],
])('what is too short or too long is refused in words: %j', (value, words) => {
  expect(() => readWith(schema, value, 'body')).toThrow(expect.objectContaining({ message: words }))
})
