import { z } from '@hono/zod-openapi'
import { type EnvBranch, type EnvVar, listEnv, listEnvBranches, setEnv, unsetEnv } from '../env-vars.ts'
import { AppError } from '../errors.ts'
import { findStaleEnv, type StaleEnv } from '../stale-env.ts'
import { answersJson } from './answers.ts'
import { type Call, nameOf } from './call.ts'
import { appName, branchName, environment, line } from './fields.ts'
import { route } from './route.ts'

const maxVariables = 200

const variableJson = z
  .object({
    name: z.string(),
    branch: z.string().nullable().openapi({ description: 'null: of the whole environment' }),
    runtime_only: z.boolean(),
    value: z.string().nullable().openapi({ description: 'null: it is never shown; only those set as readable are' }),
    updated_at: z.string(),
    updated_by: z.string(),
  })
  .openapi('Variable')

const staleJson = z
  .array(
    z
      .object({
        deployment: z.string(),
        version: z.string(),
        environment,
        branch: z.string(),
        names: z.array(z.string()),
      })
      .openapi('StaleVersion'),
  )
  .openapi({
    description: 'what is live with other variables than it would be given now, and needs a redeploy to have them',
  })

const variablesJson = z.object({ variables: z.array(variableJson), stale: staleJson })
const changedNames = z
  .array(z.string())
  .openapi({ description: 'those that are new or other than they were; the rest was so before' })

const params = z.object({ app: appName })
const scope = {
  environment: environment.optional().openapi({ description: 'default: production; with a branch: preview' }),
  branch: branchName
    .optional()
    .openapi({ description: "a preview's branch, whose own go before what all previews share" }),
}

export const listEnvRoute = route({
  method: 'get',
  path: '/apps/{app}/env',
  summary: "List an app's variables by name; values only of those that were set as readable",
  policy: { action: 'read', on: 'params' },
  params,
  whole: `there are at most ${maxVariables} variables`,
  query: z.strictObject(scope),
  answers: answersJson(
    'names',
    variablesJson.extend({
      branches: z.array(z.string()).openapi({ description: 'of previews, those with variables of their own' }),
    }),
  ),
  async handle({ query }, { app, sql, key }) {
    const asked = scopeOf(app.id, query)
    const [variables, stale] = [await listEnv(sql, asked, key), await findStaleEnv(sql, asked, key)]
    const branches = asked.environment === 'preview' ? await listEnvBranches(sql, app.id) : []
    return Response.json({ variables: variables.map(toJson), stale: stale.map(staleToJson), branches }, noStore)
  },
})

export const setEnvRoute = route({
  method: 'put',
  path: '/apps/{app}/env',
  summary: 'Set variables, all of them or none; they reach the app with its next deployment',
  policy: { action: 'deploy', on: 'params' },
  params,
  body: z.strictObject({
    ...scope,
    values: z.record(z.string(), z.string()),
    runtime_only: z.boolean().optional().openapi({ description: 'keep these from builds; default: as they were' }),
    readable: z
      .boolean()
      .optional()
      .openapi({ description: 'values may be shown; default: as they were, new ones not' }),
  }),
  maxBodyBytes: 1_048_576,
  audit: ({ values, ...rest }) => ({ ...rest, names: Object.keys(values) }),
  answers: answersJson('names as they are now', variablesJson.extend({ changed: changedNames })),
  async handle({ body }, call) {
    const { app, sql, key, caller, log } = call
    const asked = scopeOf(app.id, body)
    const { values, runtime_only: runtimeOnly, readable: isReadable } = body
    const { changed, variables } = await sql.begin(async (tx) => {
      const changed = await setEnv(tx, asked, { values, runtimeOnly, isReadable, by: nameOf(caller), key })
      const all = await listEnv(tx, asked, key)
      if (all.length > maxVariables)
        throw new AppError('ENV_TOO_LARGE', `${app.id} would have ${all.length} variables; ${maxVariables} is the most`)
      return { changed, variables: all.map(toJson) }
    })
    log.info({ app: app.id, names: Object.keys(values), by: caller.name }, 'variables set')
    return Response.json({ variables, changed, stale: await staleOf(call, asked) }, noStore)
  },
})

export const unsetEnvRoute = route({
  method: 'delete',
  path: '/apps/{app}/env',
  summary: 'Remove variables',
  policy: { action: 'deploy', on: 'params' },
  params,
  query: z.strictObject({
    ...scope,
    names: line(8_000).openapi({ description: 'names, separated by commas' }),
  }),
  answers: answersJson('the names that were there', z.object({ removed: z.array(z.string()), stale: staleJson })),
  async handle({ query }, call) {
    const { app, sql, caller, log } = call
    const asked = scopeOf(app.id, query)
    const removed = await unsetEnv(sql, asked, query.names.split(','))
    log.info({ app: app.id, names: removed, by: caller.name }, 'variables removed')
    return Response.json({ removed, stale: await staleOf(call, asked) })
  },
})

const noStore = { headers: { 'cache-control': 'no-store' } }

function scopeOf(
  app: string,
  { environment, branch }: { environment?: 'production' | 'preview' | undefined; branch?: string | undefined },
): EnvBranch {
  if (branch !== undefined && environment === 'production')
    throw new AppError('REQUEST_INVALID', 'branch: production has no variables by branch; previews do')
  return { app, environment: environment ?? (branch === undefined ? 'production' : 'preview'), branch }
}

async function staleOf({ sql, key }: Call, asked: EnvBranch): Promise<z.infer<typeof staleJson>> {
  return (await findStaleEnv(sql, asked, key)).map(staleToJson)
}

function staleToJson({ deployment: { id, version, environment, branch }, names }: StaleEnv) {
  return { deployment: id, version, environment, branch, names }
}

function toJson({ name, branch, runtimeOnly, value, updatedAt, updatedBy }: EnvVar): z.infer<typeof variableJson> {
  return {
    name,
    branch,
    runtime_only: runtimeOnly,
    value,
    updated_at: updatedAt.toISOString(),
    updated_by: updatedBy,
  }
}
