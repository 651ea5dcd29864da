import { z } from '@hono/zod-openapi'
import type { Config } from '../config.ts'
import { nextStep } from '../rollback-reasons.ts'
import type { ArmView, EvidenceView, RolloutView } from '../rollout-view.ts'
import { deploymentJson, toJson } from './deployment-json.ts'

const armJson = z
  .object({
    requests: z.number(),
    errors: z.number(),
    error_rate: z.number().nullable().openapi({ description: '0 to 1; null without requests' }),
    refused: z.number().openapi({ description: 'answered 4xx; told, and never a reason' }),
    p50_ms: z.number().nullable(),
    p95_ms: z.number().nullable(),
  })
  .openapi('RolloutArm', { description: 'in the stage in force' })

const evidenceJson = z
  .object({
    evidence: z
      .string()
      .openapi({ description: 'at most one healthy version of so many shows that much', example: '3058' }),
    bar: z.string().openapi({ description: 'where it is called out', example: '750' }),
    ln_evidence: z.number(),
    ln_bar: z.number(),
    is_material: z.boolean().openapi({ description: 'possibly worse than is tolerated' }),
  })
  .openapi('RolloutEvidence')

export const rolloutJson = z
  .object({
    id: z.string(),
    app_id: z.string(),
    state: z.enum(['observing', 'held', 'paused', 'reverting', 'done', 'aborted']),
    sentence: z.string().nullable(),
    confidence: z.string().nullable(),
    from: deploymentJson,
    to: deploymentJson,
    percent: z.number().openapi({ description: 'share of the traffic of the new version' }),
    stages: z.array(z.number()),
    window_sec: z.number(),
    min_requests: z.number(),
    stage_left_sec: z
      .number()
      .nullable()
      .openapi({ description: 'null while no clock runs, and when the stage is observed for longer' }),
    left_sec: z.number().nullable(),
    candidate: armJson,
    baseline: armJson,
    evidence: z.object({ errors: evidenceJson.nullable(), latency: evidenceJson.nullable() }),
    remarks: z.array(z.string()),
    by: z.string(),
    started_at: z.string(),
    ended_at: z.string().nullable(),
    history: z.array(z.object({ at: z.string(), kind: z.string(), by: z.string(), sentence: z.string() })),
    why: z
      .object({
        failing_paths: z.array(z.object({ path: z.string(), status: z.number(), count: z.number() })),
        stack_traces: z.array(z.string()),
        commits: z.array(z.object({ sha: z.string(), subject: z.string() })),
        next: z.string(),
      })
      .nullable()
      .openapi({ description: 'of a version that was taken back' }),
  })
  .openapi('Rollout')

export type RolloutJson = z.infer<typeof rolloutJson>

export function rolloutToJson(view: RolloutView, config: Config): RolloutJson {
  const { rollout, from, to, evidence, reasons } = view
  const { stages, observationWindowSec, autoRollback } = rollout.policy
  return {
    id: rollout.id,
    app_id: rollout.appId,
    state: rollout.state,
    sentence: rollout.sentence,
    confidence: rollout.confidence,
    from: toJson(from, config),
    to: toJson(to, config),
    percent: view.percent,
    stages,
    window_sec: observationWindowSec,
    min_requests: autoRollback.minRequests,
    stage_left_sec: view.stageLeftSec === null ? null : Math.ceil(view.stageLeftSec),
    left_sec: view.leftSec === null ? null : Math.ceil(view.leftSec),
    candidate: armToJson(view.candidate),
    baseline: armToJson(view.baseline),
    evidence: { errors: evidenceToJson(evidence.errors), latency: evidenceToJson(evidence.latency) },
    remarks: view.remarks,
    by: rollout.by,
    started_at: rollout.startedAt.toISOString(),
    ended_at: rollout.endedAt?.toISOString() ?? null,
    history: view.history.map(({ at, ...decision }) => ({ at: at.toISOString(), ...decision })),
    why: reasons && {
      failing_paths: reasons.failingPaths,
      stack_traces: reasons.stackTraces,
      commits: reasons.commits,
      next: nextStep(to),
    },
  }
}

function armToJson({ requests, errors, refused, p50Ms, p95Ms }: ArmView): RolloutJson['candidate'] {
  const error_rate = requests > 0 ? errors / requests : null
  return { requests, errors, error_rate, refused, p50_ms: p50Ms, p95_ms: p95Ms }
}

function evidenceToJson(view: EvidenceView | null): RolloutJson['evidence']['errors'] {
  if (!view) return null
  const { evidence, bar, lnEvidence, lnBar, isMaterial } = view
  return { evidence, bar, ln_evidence: lnEvidence, ln_bar: lnBar, is_material: isMaterial }
}
