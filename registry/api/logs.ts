import { z } from '@hono/zod-openapi'
import { type AppLogLine, followAppLog, readAppLog } from '../app-logs.ts'
import { answersStream } from './answers.ts'
import { type StreamEvent, streamEvents } from './event-stream.ts'
import { appName, count, flag } from './fields.ts'
import { endJson } from './progress.ts'
import { route } from './route.ts'

const lineJson = z
  .object({
    type: z.literal('log'),
    id: z.number(),
    at: z.string(),
    deployment: z.string(),
    version: z.string(),
    stream: z.enum(['stdout', 'stderr', 'platform']),
    text: z.string(),
  })
  .openapi('AppLogEvent')

export const appLogRoute = route({
  method: 'get',
  path: '/apps/{app}/logs',
  summary: 'Read or follow what the running app writes to stdout and stderr, by version',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  whole: 'its lines come one by one; the newest 10,000 are kept, and `tail` says how many of them',
  query: z.strictObject({ tail: count(0, 10_000).default(200), follow: flag.default(false) }),
  answers: answersStream('log lines, oldest first', z.union([lineJson, endJson])),
  async handle({ query }, call) {
    const { app, sql } = call
    return streamEvents(call, async function* (signal) {
      if (!query.follow) return yield* (await readAppLog(sql, app.id, { limit: query.tail })).map(logEvent)
      for await (const lines of followAppLog(sql, app.id, { tail: query.tail, signal })) yield* lines.map(logEvent)
    })
  },
})

function logEvent({ id, at, deploymentId, version, stream, text }: AppLogLine): StreamEvent {
  return { id, data: { type: 'log', id, at: at.toISOString(), deployment: deploymentId, version, stream, text } }
}
