import { z } from 'zod'
import type { DemoPlatform } from './platform.ts'

const arm = z.object({ requests: z.number(), errors: z.number() })

const rollout = z.object({
  state: z.enum(['observing', 'held', 'paused', 'reverting', 'done', 'aborted']),
  sentence: z.string().nullable(),
  percent: z.number(),
  candidate: arm,
  baseline: arm,
  evidence: z.object({ errors: z.object({ evidence: z.string(), bar: z.string() }).nullable() }),
  to: z.object({ version: z.string() }),
  why: z
    .object({
      failing_paths: z.array(z.object({ path: z.string(), status: z.number(), count: z.number() })),
      stack_traces: z.array(z.string()),
      commits: z.array(z.object({ sha: z.string(), subject: z.string() })),
    })
    .nullable(),
})

/** A rollout as `GET /apps/<app>/rollout` tells of it, as far as it is shown. */
export type Progress = z.infer<typeof rollout>

/** Of the rollout of `version`; null before it has begun, or when there is nothing to say of it any more. */
export async function readProgress(platform: DemoPlatform, app: string, version: string): Promise<Progress | null> {
  const reply = await platform.api('GET', `apps/${app}/rollout`)
  const { rollout: told } = z.object({ rollout: rollout.nullable() }).parse(reply)
  return told?.to.version === version ? told : null
}

export function isOver({ state }: Progress): boolean {
  return state === 'aborted' || state === 'done'
}

/** `  5 %   v2: 3 of 61 failed   v1: 1 of 1210 failed   evidence 612 of 750` */
export function progressLine({ percent, candidate, baseline, evidence, state }: Progress): string {
  const arm = (name: string, { requests, errors }: Progress['candidate']) =>
    `${name}: ${String(errors).padStart(2)} of ${String(requests).padStart(5)} failed`
  const proof = evidence.errors
    ? `evidence against v2: ${evidence.errors.evidence.padStart(5)}, bar ${evidence.errors.bar}`
    : ''
  const share = `${String(percent).padStart(3)} %`
  return [share, arm('v2', candidate), arm('v1', baseline), proof, state === 'observing' ? '' : state]
    .join('   ')
    .trimEnd()
}
