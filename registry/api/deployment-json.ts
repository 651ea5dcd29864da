import { z } from '@hono/zod-openapi'
import { appUrl, type Config } from '../config.ts'
import type { Deployment } from '../deployments.ts'

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
  })
  .openapi('Deployment')

export type DeploymentJson = z.infer<typeof deploymentJson>

export function toJson(deployment: Deployment, config: Config): DeploymentJson {
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
  }
}
