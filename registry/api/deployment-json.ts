import { z } from '@hono/zod-openapi'
import { appUrl, type Config } from '../config.ts'
import type { Deployment } from '../deployments.ts'
import type { HostSummary } from '../edge-hosts.ts'

const hostJson = z
  .object({
    state: z.enum(['starting', 'awake', 'asleep', 'crashed']).openapi({
      description: 'awake: on one edge at least; asleep: no process runs, and the next request starts one',
    }),
    since: z.string(),
    isolates: z.number().openapi({ description: 'that take requests, on all edges' }),
    edges: z.number().openapi({ description: 'that have it' }),
    awake_on: z.number().openapi({ description: 'of those' }),
  })
  .openapi('Host')

/** A deployment as the API shows it; the environment's values and the platform's internals stay inside. */
export const deploymentJson = z
  .object({
    id: z.string(),
    app_id: z.string(),
    number: z.number().openapi({ description: 'counts up per app; v17 names it' }),
    version: z.string(),
    environment: z.enum(['production', 'preview']),
    branch: z.string(),
    url: z.string(),
    source: z.enum(['git', 'upload', 'redeploy']),
    subject: z.string().nullable(),
    state: z.string(),
    state_reason: z.string().nullable(),
    state_since: z.string(),
    error_code: z.string().nullable(),
    created_at: z.string(),
    created_by: z.string(),
    live_at: z.string().nullable(),
    host: hostJson.nullable().optional().openapi({
      description: 'its processes, where they are told; null: it has none, or no edge has said anything of them',
    }),
  })
  .openapi('Deployment')

export type DeploymentJson = z.infer<typeof deploymentJson>

/** `hosts`: by deployment, where they are to be told. */
export function toJson(
  deployment: Deployment,
  config: Config,
  hosts: Map<string, HostSummary> | null = null,
): DeploymentJson {
  return {
    id: deployment.id,
    app_id: deployment.appId,
    number: deployment.number,
    version: deployment.version,
    environment: deployment.environment,
    branch: deployment.branch,
    url: appUrl(config, deployment.label),
    source: deployment.source,
    subject: deployment.subject,
    state: deployment.state,
    state_reason: deployment.stateReason,
    state_since: deployment.stateSince.toISOString(),
    error_code: deployment.errorCode,
    created_at: deployment.createdAt.toISOString(),
    created_by: deployment.createdBy,
    live_at: deployment.liveAt?.toISOString() ?? null,
    ...(hosts && { host: toHostJson(hosts.get(deployment.id)) }),
  }
}

function toHostJson(host: HostSummary | undefined): z.infer<typeof hostJson> | null {
  if (!host) return null
  const { state, since, isolates, edges, awakeOn } = host
  return { state, since: since.toISOString(), isolates, edges, awake_on: awakeOn }
}
