import { z } from '@hono/zod-openapi'
import { readLocks } from '../app-locks.ts'
import { appUrl, type Config, isolationModes } from '../config.ts'
import { readHosts } from '../edge-hosts.ts'
import { readIsolation } from '../isolation.ts'
import { appsWhere } from '../rights.ts'
import { type RolloutView, readRolloutsToShow } from '../rollout-view.ts'
import { findToken } from '../tokens.ts'
import { answersJson } from './answers.ts'
import { nextField, pageOf, pageQuery, readCursor } from './cursor.ts'
import { deploymentJson, toJson } from './deployment-json.ts'
import { appName, environment, line } from './fields.ts'
import { lockJson, lockToJson } from './locks.ts'
import { type AppState, readAppStates, readPlatformState } from './overview.ts'
import { type RolloutJson, rolloutJson, rolloutToJson } from './rollout-json.ts'
import { route } from './route.ts'

const appStateJson = z
  .object({
    app_id: z.string(),
    environment: z.enum(['production', 'preview']),
    branch: z.string(),
    url: z.string(),
    live: deploymentJson.nullable(),
    latest: deploymentJson.nullable().openapi({ description: 'the newest attempt, live or not' }),
    rollout: rolloutJson
      .nullable()
      .openapi({ description: 'the one under way, or one that was taken back and after which nothing else came out' }),
    locks: z.array(lockJson),
  })
  .openapi('AppState')

const statusJson = z.object({
  platform: z.object({
    isolation: z.object({
      setting: z.enum(['require', 'warn']).openapi({ description: 'ATELIER_ISOLATION' }),
      mode: z
        .enum(isolationModes)
        .nullable()
        .openapi({ description: 'the weakest that a running part has proved; null: none has yet' }),
      summary: z.string().nullable(),
      advice: z.array(z.string()).openapi({ description: 'what to install or set to raise it' }),
    }),
    edges: z.number(),
    queued: z.number(),
    running: z.number(),
  }),
  apps: z.array(appStateJson),
  next: nextField,
})

export const statusRoute = route({
  method: 'get',
  path: '/status',
  summary: 'What is live at which address, and what is on its way',
  policy: { action: 'read', on: 'query?' },
  query: z.strictObject({ app: appName.optional(), ...pageQuery(500, 200) }),
  answers: answersJson('the platform, and a page of its apps by name with their previews', statusJson),
  async handle({ query: { limit, cursor } }, { app, sql, caller, config }) {
    const only = app ? [app.id] : appsWhere(caller, 'read')
    const after = readCursor(cursor, z.tuple([appName, environment, line(300)]))
    const found = await readAppStates(sql, { only, after, limit: limit + 1 })
    const { shown: states, next } = pageOf(found, limit, ({ appId, environment, branch }) => [
      appId,
      environment,
      branch,
    ])
    const apps = [...new Set(states.map(({ appId }) => appId))]
    const [platform, proved, rollouts, locks] = await Promise.all([
      readPlatformState(sql),
      readIsolation(sql),
      readRolloutsToShow(sql, apps),
      readLocks(sql, apps),
    ])
    const live = states.flatMap((state) => state.live ?? [])
    const hosts = await readHosts(sql, live)
    return Response.json({
      platform: {
        isolation: {
          setting: config.isolation,
          mode: proved?.mode ?? null,
          summary: proved?.summary ?? null,
          advice: proved?.advice ?? [],
        },
        ...platform,
      },
      apps: states.map((state) => ({
        app_id: state.appId,
        environment: state.environment,
        branch: state.branch,
        url: appUrl(config, state.label),
        live: state.live && toJson(state.live, config, hosts),
        latest: state.latest && toJson(state.latest, config),
        rollout: rolloutOf(state, rollouts, config),
        locks: locks.filter((lock) => isProductionOf(state, lock.appId)).map(lockToJson),
      })),
      next,
    })
  },
})

function rolloutOf(state: AppState, rollouts: RolloutView[], config: Config): RolloutJson | null {
  const view = rollouts.find(({ rollout }) => isProductionOf(state, rollout.appId))
  return view ? rolloutToJson(view, config) : null
}

function isProductionOf({ environment, appId }: AppState, app: string): boolean {
  return environment === 'production' && appId === app
}

export const whoamiRoute = route({
  method: 'get',
  path: '/whoami',
  summary: 'What the token is called and what it is good for',
  policy: { action: 'read', on: 'own' },
  answers: answersJson(
    'the token and whose it is',
    z.object({
      name: z.string(),
      scope: z.string(),
      app_id: z.string().nullable(),
      person: z
        .object({
          name: z.string(),
          platform_role: z.enum(['admin', 'member', 'guest']),
          roles: z.record(z.string(), z.enum(['owner', 'deployer', 'viewer'])).openapi({ description: 'by app' }),
        })
        .nullable()
        .openapi({ description: 'null: the token stands alone' }),
      token: z
        .object({ id: z.string(), name: z.string(), expires_at: z.string().nullable() })
        .nullable()
        .openapi({ description: 'null: signed in to the console as a person' }),
    }),
  ),
  async handle(_, { caller, sql }) {
    const { name, scope, limitedTo, person, tokenId } = caller
    const token = tokenId === null ? null : await findToken(sql, tokenId)
    return Response.json({
      name,
      scope,
      app_id: limitedTo,
      person: person && { name, platform_role: person.platformRole, roles: Object.fromEntries(person.roles) },
      token: token && { id: token.id, name: token.name, expires_at: token.expiresAt?.toISOString() ?? null },
    })
  },
})
