import { z } from '@hono/zod-openapi'
import { type EnvVar, listEnv, setEnv, unsetEnv } from '../env-vars.ts'
import { AppError } from '../errors.ts'
import { answersJson } from './answers.ts'
import { nameOf } from './call.ts'
import { appName, environment, line } from './fields.ts'
import { route } from './route.ts'

const maxVariables = 200

const variablesJson = z.object({
  variables: z.array(
    z
      .object({ name: z.string(), runtime_only: z.boolean(), updated_at: z.string(), updated_by: z.string() })
      .openapi('Variable'),
  ),
})

const params = z.object({ app: appName })

export const listEnvRoute = route({
  method: 'get',
  path: '/apps/{app}/env',
  summary: "List the names of an app's variables; values are never shown",
  policy: { action: 'read', on: 'params' },
  params,
  query: z.strictObject({ environment: environment.default('production') }),
  answers: answersJson('names', variablesJson),
  async handle({ query }, { app, sql }) {
    return Response.json(toJson(await listEnv(sql, { app: app.id, environment: query.environment })))
  },
})

export const setEnvRoute = route({
  method: 'put',
  path: '/apps/{app}/env',
  summary: 'Set variables, all of them or none; they reach the app with its next deployment',
  policy: { action: 'deploy', on: 'params' },
  params,
  body: z.strictObject({
    environment: environment.default('production'),
    values: z.record(z.string(), z.string()),
    runtime_only: z.boolean().default(false).openapi({ description: 'keep these from builds' }),
  }),
  maxBodyBytes: 1_048_576,
  audit: ({ values, ...rest }) => ({ ...rest, names: Object.keys(values) }),
  answers: answersJson('names as they are now', variablesJson),
  async handle({ body }, { app, sql, key, caller, log }) {
    const scope = { app: app.id, environment: body.environment }
    const variables = await sql.begin(async (tx) => {
      await setEnv(tx, scope, { values: body.values, runtimeOnly: body.runtime_only, by: nameOf(caller), key })
      const all = await listEnv(tx, scope)
      if (all.length > maxVariables)
        throw new AppError('ENV_TOO_LARGE', `${app.id} would have ${all.length} variables; ${maxVariables} is the most`)
      return all
    })
    log.info({ app: app.id, names: Object.keys(body.values), by: caller.name }, 'variables set')
    return Response.json(toJson(variables))
  },
})

export const unsetEnvRoute = route({
  method: 'delete',
  path: '/apps/{app}/env',
  summary: 'Remove variables',
  policy: { action: 'deploy', on: 'params' },
  params,
  query: z.strictObject({
    environment: environment.default('production'),
    names: line(8_000).openapi({ description: 'names, separated by commas' }),
  }),
  answers: answersJson('the names that were there', z.object({ removed: z.array(z.string()) })),
  async handle({ query }, { app, sql, caller, log }) {
    const scope = { app: app.id, environment: query.environment }
    const removed = await unsetEnv(sql, scope, query.names.split(','))
    log.info({ app: app.id, names: removed, by: caller.name }, 'variables removed')
    return Response.json({ removed })
  },
})

function toJson(variables: EnvVar[]): z.infer<typeof variablesJson> {
  return {
    variables: variables.map(({ name, runtimeOnly, updatedAt, updatedBy }) => ({
      name,
      runtime_only: runtimeOnly,
      updated_at: updatedAt.toISOString(),
      updated_by: updatedBy,
    })),
  }
}
