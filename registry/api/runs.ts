import { z } from '@hono/zod-openapi'
import { countInput, putInput } from '../app-run-chunks.ts'
import { type AppRun, askToEnd, createRun, findRun, findRunTarget, listRuns } from '../app-runs.ts'
import { countEdges } from '../edges.ts'
import { openEnvSnapshot } from '../env-vars.ts'
import { AppError } from '../errors.ts'
import { type FollowedRun, followRun } from '../followed-run.ts'
import { channels } from '../routes.ts'
import type { Sql } from '../sql.ts'
import { Wakeup } from '../wakeup.ts'
import { answersJson, answersStream, errorJson } from './answers.ts'
import { nameOf } from './call.ts'
import { nextField, pageOf, pageQuery, placeInTime, readCursor } from './cursor.ts'
import { errorBody } from './error-response.ts'
import { type StreamEvent, streamEvents } from './event-stream.ts'
import { appName, branchName } from './fields.ts'
import { route } from './route.ts'
import { shownCommand } from './shown-command.ts'

// POST /api/platform/apps/hello/runs   { "command": ["node", "migrate.js"] }

const largestInput = 65_536
const mostInputWaiting = 16
const inputWaitMs = 10_000

// What execve(2) takes: 128 kB a word, none with a NUL in it.
const word = z
  .string()
  .max(131_000)
  .refine((text) => !text.includes('\0'), 'must not hold a NUL character')
  .refine((text) => text.isWellFormed(), 'must be well-formed text')
const command = z
  .array(word)
  .min(1)
  .max(1000)
  .refine(([program]) => program !== '', 'must begin with a program')
  .refine(
    (words) => words.reduce((sum, one) => sum + Buffer.byteLength(one) + 1, 0) <= 131_072,
    'must be at most 128 kB',
  )

const runId = z
  .string()
  .regex(/^[a-z][a-z0-9]{11}$/, "must be a command's id of 12 characters")
  .openapi({ example: 'k3v9q0x7m2ab' })

const runJson = z
  .object({
    id: z.string(),
    deployment: z.string(),
    version: z.string(),
    command: z.string().openapi({ description: 'as a shell would take it, without the values of the variables' }),
    by: z.string(),
    state: z.enum(['waiting', 'running', 'ended']),
    exit_code: z.number().nullable(),
    signal: z.string().nullable(),
    cause: z.string().nullable().openapi({
      description:
        'exit, timeout, memory, stopped (somebody ended it), lost (its machine is gone), refused (it was never begun)',
    }),
    reason: z.string().nullable(),
    created_at: z.string(),
    started_at: z.string().nullable(),
    ended_at: z.string().nullable(),
  })
  .openapi('Run')

const runEventJson = z
  .union([
    z.object({ type: z.literal('run'), run: runJson }),
    z.object({ type: z.enum(['waiting', 'running']) }),
    z.object({
      type: z.literal('output'),
      stream: z.enum(['stdout', 'stderr']),
      data: z.string().openapi({ description: 'base64' }),
    }),
    z.object({
      type: z.literal('end'),
      exit_code: z.number().nullish(),
      signal: z.string().nullish(),
      cause: z.string().nullish(),
      error: errorJson.shape.error
        .optional()
        .openapi({ description: 'when it was not run, or how it ended is not known' }),
    }),
  ])
  .openapi('RunEvent')

export const startRunRoute = route({
  method: 'post',
  path: '/apps/{app}/runs',
  summary:
    'Run a command once, with the code, the variables, the network and the data of what is live; it ends with the connection',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName }),
  body: z.strictObject({
    command: command.openapi({ description: 'a program and its arguments; no shell reads them' }),
    branch: branchName.nullish().openapi({ description: 'the preview of this branch; default: production' }),
    input: z.boolean().default(false).openapi({ description: 'whether it is sent input (POST …/runs/{run}/input)' }),
    timeout_sec: z.number().int().min(1).max(86_400).default(3600),
  }),
  maxBodyBytes: 1_048_576,
  // The program alone: people type passwords.
  audit: ({ command: [program], branch }) => ({ program: program?.slice(0, 200).split('=')[0], branch }),
  answers: answersStream('the command, what it writes as it comes, and how it ended', runEventJson),
  async handle({ body }, call) {
    const { app, sql, key, caller, log } = call
    const target = await findRunTarget(sql, app.id, body.branch ?? null)
    if (!target) throw new AppError('RUN_IMPOSSIBLE', nothingLive(app.id, body.branch ?? null))
    if (target.kind === 'static')
      throw new AppError(
        'RUN_IMPOSSIBLE',
        `${app.id} is a static site: there is no code of it on the server to run a command beside`,
      )
    if ((await countEdges(sql)) === 0)
      throw new AppError('NO_EDGE', 'no machine that serves apps is running; look there: atelier doctor')
    const scope = { app: app.id, environment: target.environment }
    const env = openEnvSnapshot(target.envSnapshot, { scope, key, purpose: 'run' })
    const run = await createRun(
      sql,
      {
        app: app.id,
        deploymentId: target.deploymentId,
        command: body.command,
        shown: shownCommand(body.command, env),
        takesInput: body.input,
        timeoutSec: body.timeout_sec,
        by: nameOf(caller),
      },
      { key },
    )
    log.info({ app: app.id, run: run.id, deployment: run.deploymentId, by: caller.name }, 'command ordered')
    return streamEvents(call, async function* (signal) {
      yield { id: null, data: { type: 'run', run: toJson(run) } }
      for await (const event of followRun(sql, run, { key, signal })) yield eventOf(event)
    })
  },
})

export const listRunsRoute = route({
  method: 'get',
  path: '/apps/{app}/runs',
  summary: 'Who ran which commands, the newest first',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject(pageQuery(500, 20)),
  answers: answersJson('a page of them, the newest first', z.object({ runs: z.array(runJson), next: nextField })),
  async handle({ query: { limit, cursor } }, { app, sql }) {
    const found = await listRuns(sql, app.id, { after: readCursor(cursor, placeInTime), limit: limit + 1 })
    const { shown, next } = pageOf(found, limit, ({ micros, id }) => [micros, id])
    return Response.json({ runs: shown.map(toJson), next })
  },
})

export const feedRunRoute = route({
  method: 'post',
  path: '/apps/{app}/runs/{run}/input',
  summary: 'Send a piece of input to a command; `taken` false: it reads slowly, send the same piece again',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName, run: runId }),
  body: z.strictObject({
    seq: z.number().int().min(0).max(1_000_000_000),
    data: z
      .base64()
      .max(Math.ceil(largestInput / 3) * 4)
      .openapi({ description: 'at most 64 kB, as base64' }),
    end: z.boolean().default(false).openapi({ description: 'nothing comes after it' }),
  }),
  maxBodyBytes: 131_072,
  goesOn: true,
  answers: answersJson('whether it was taken', z.object({ taken: z.boolean() })),
  async handle({ params, body }, { app, sql, key, request }) {
    await findOpen(sql, app.id, params.run)
    if (!(await hasRoom(sql, params.run, request.signal))) return Response.json({ taken: false })
    const piece = { seq: body.seq, data: Buffer.from(body.data, 'base64'), isLast: body.end }
    await putInput(sql, { run: params.run, key }, piece)
    return Response.json({ taken: true })
  },
})

export const endRunRoute = route({
  method: 'post',
  path: '/apps/{app}/runs/{run}/end',
  summary: 'End a command: as Ctrl-C does, what is left after five seconds is killed; or at once',
  policy: { action: 'deploy', on: 'params' },
  params: z.object({ app: appName, run: runId }),
  body: z.strictObject({ at_once: z.boolean().default(false) }),
  answers: answersJson('the command as it is now', runJson),
  async handle({ params, body }, { app, sql }) {
    await findOpen(sql, app.id, params.run)
    await askToEnd(sql, params.run, body.at_once ? 'KILL' : 'TERM')
    const run = await findRun(sql, app.id, params.run)
    if (!run) throw notFound(app.id, params.run)
    return Response.json(toJson(run))
  },
})

async function findOpen(sql: Sql, app: string, id: string): Promise<void> {
  const run = await findRun(sql, app, id)
  if (!run) throw notFound(app, id)
  if (run.state === 'ended') throw new AppError('RUN_ENDED', `the command ${id} of ${app} has ended`)
}

async function hasRoom(sql: Sql, id: string, signal: AbortSignal): Promise<boolean> {
  if ((await countInput(sql, id)) < mostInputWaiting) return true
  await using wakeup = await Wakeup.on(sql, [channels.appRuns], (payload) =>
    [`${id}:fed`, `${id}:ended`].includes(payload),
  )
  for (const startedAt = performance.now(); performance.now() - startedAt < inputWaitMs && !signal.aborted; ) {
    if ((await countInput(sql, id)) < mostInputWaiting) return true
    await wakeup.next({ timeoutMs: 1000, signal })
  }
  return false
}

function notFound(app: string, id: string): AppError {
  return new AppError('RUN_NOT_FOUND', `${app} has no command ${id}; see: atelier run --list --app ${app}`)
}

function nothingLive(app: string, branch: string | null): string {
  if (branch) return `${app} has no live preview of ${branch}; see: atelier status --app ${app}`
  return `nothing of ${app} is live, and a command runs with what is; deploy it first: git push atelier main`
}

function eventOf(event: FollowedRun): StreamEvent {
  if ('state' in event) return { id: null, data: { type: event.state } }
  if ('stream' in event)
    return { id: null, data: { type: 'output', stream: event.stream, data: event.data.toString('base64') } }
  const { end } = event
  if (!end) return { id: null, data: { type: 'end', ...errorBody('APP_NOT_FOUND', 'the app was removed') } }
  const failed = end.errorCode ? errorBody(end.errorCode, end.reason ?? end.errorCode) : {}
  return { id: null, data: { type: 'end', exit_code: end.exitCode, signal: end.signal, cause: end.cause, ...failed } }
}

function toJson(run: AppRun): z.infer<typeof runJson> {
  return {
    id: run.id,
    deployment: run.deploymentId,
    version: run.version,
    command: run.shown,
    by: run.by,
    state: run.state,
    exit_code: run.exitCode,
    signal: run.signal,
    cause: run.cause,
    reason: run.reason,
    created_at: run.createdAt.toISOString(),
    started_at: run.startedAt?.toISOString() ?? null,
    ended_at: run.endedAt?.toISOString() ?? null,
  }
}
