import { type RouteConfig, z } from '@hono/zod-openapi'
import { ERRORS, type ErrorCode } from '../errors.ts'

type Answers = RouteConfig['responses']

const codes = Object.keys(ERRORS) as ErrorCode[]

/** What every refusal is. The codes stay; their sentences may change. */
export const errorJson = z
  .object({
    error: z.object({
      code: z.enum(codes).openapi('ErrorCode', { example: 'APP_NOT_FOUND' }),
      message: z.string(),
    }),
  })
  .openapi('Error')

// One for each status, with the codes that have it.
const refusals: Answers = Object.fromEntries(
  Map.groupBy(codes, (code) => ERRORS[code].status)
    .entries()
    .map(([status, those]) => [status, describeJson(those.map(sentence).join('; '), errorJson)]),
)

function sentence(code: ErrorCode): string {
  return `${code}: ${ERRORS[code].summary}`
}

/** A JSON answer, described for the OpenAPI document. */
export function answersJson(description: string, schema: z.ZodType): Answers {
  return { 200: describeJson(description, schema), ...refusals }
}

export function answersNothing(description: string): Answers {
  return { 204: { description }, ...refusals }
}

/** What was asked for is noted, and comes later. */
export function answersTaken(description: string, schema: z.ZodType): Answers {
  return { 202: describeJson(description, schema), ...refusals }
}

export function answersPage(description: string): Answers {
  return { 200: { description, content: { 'text/html': { schema: z.string() } } } }
}

/**
 * Events as lines of JSON, or as server-sent events for `accept: text/event-stream`. `atOnce`: what is answered, with 202, to those who do not
 * follow; `orJson`: what the same route answers as one JSON document.
 */
export function answersStream(
  description: string,
  event: z.ZodType,
  { atOnce, orJson }: { atOnce?: z.ZodType; orJson?: z.ZodType } = {},
): Answers {
  return {
    200: {
      description,
      content: {
        ...(orJson && { 'application/json': { schema: orJson } }),
        'application/x-ndjson': { schema: event },
        'text/event-stream': { schema: z.string() },
      },
    },
    ...(atOnce && { 202: describeJson('it goes on without whoever asked', atOnce) }),
    ...refusals,
  }
}

function describeJson(description: string, schema: z.ZodType): Answers[number] {
  return { description, content: { 'application/json': { schema } } }
}
