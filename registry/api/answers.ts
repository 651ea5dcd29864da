import { type RouteConfig, z } from '@hono/zod-openapi'

type Answers = RouteConfig['responses']

const errorJson = z
  .object({ error: z.object({ code: z.string().openapi({ example: 'APP_NOT_FOUND' }), message: z.string() }) })
  .openapi('Error')

const refusals: Answers = {
  400: describeJson('the request is not valid', errorJson),
  401: describeJson('no valid token', errorJson),
  403: describeJson('the token may not do that', errorJson),
  404: describeJson('there is no such thing, or the token may not see it', errorJson),
}

/** A JSON answer, described for the OpenAPI document. */
export function answersJson(description: string, schema: z.ZodType): Answers {
  return { 200: describeJson(description, schema), ...refusals }
}

export function answersNothing(description: string): Answers {
  return { 204: { description }, ...refusals }
}

/** Progress as lines of JSON, or as server-sent events for `accept: text/event-stream`. */
export function answersStream(description: string): Answers {
  const event = z.object({ type: z.enum(['start', 'log', 'end']) }).loose()
  return {
    200: {
      description,
      content: { 'application/x-ndjson': { schema: event }, 'text/event-stream': { schema: z.string() } },
    },
    ...refusals,
  }
}

function describeJson(description: string, schema: z.ZodType): Answers[number] {
  return { description, content: { 'application/json': { schema } } }
}
