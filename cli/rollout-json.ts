import { type Deployment, field, readDeployment, readFields, readList } from './reply.ts'

const armFields = {
  requests: 'number',
  errors: 'number',
  refused: 'number',
  error_rate: 'number?',
  p50_ms: 'number?',
  p95_ms: 'number?',
} as const

const fields = {
  id: 'string',
  app_id: 'string',
  state: 'string',
  sentence: 'string?',
  confidence: 'string?',
  percent: 'number',
  window_sec: 'number',
  min_requests: 'number',
  stage_left_sec: 'number?',
  left_sec: 'number?',
} as const

export type Arm = ReturnType<typeof readArm>
export type Evidence = ReturnType<typeof readEvidence>
export type Rollout = ReturnType<typeof readRollout>
export type Why = ReturnType<typeof readWhy>

/** A rollout as the API shows it. */
export function readRollout(reply: unknown) {
  const evidence = field(reply, 'evidence')
  const why = field(reply, 'why')
  return {
    ...readFields(reply, fields),
    stages: readList(reply, 'stages', Number),
    remarks: readList(reply, 'remarks', String),
    from: readDeployment(field(reply, 'from')) satisfies Deployment,
    to: readDeployment(field(reply, 'to')) satisfies Deployment,
    candidate: readArm(field(reply, 'candidate')),
    baseline: readArm(field(reply, 'baseline')),
    errors: readOptional(field(evidence, 'errors'), readEvidence),
    latency: readOptional(field(evidence, 'latency'), readEvidence),
    why: readOptional(why, readWhy),
  }
}

/** Null for null, else what `read` makes of it. */
export function readOptional<T>(reply: unknown, read: (reply: unknown) => T): T | null {
  return reply === null || reply === undefined ? null : read(reply)
}

function readArm(reply: unknown) {
  return readFields(reply, armFields)
}

function readEvidence(reply: unknown) {
  return readFields(reply, {
    evidence: 'string',
    bar: 'string',
    ln_evidence: 'number',
    ln_bar: 'number',
    is_material: 'boolean',
  })
}

function readWhy(reply: unknown) {
  return {
    paths: readList(reply, 'failing_paths', (one) =>
      readFields(one, { path: 'string', status: 'number', count: 'number' }),
    ),
    traces: readList(reply, 'stack_traces', String),
    commits: readList(reply, 'commits', (one) => readFields(one, { sha: 'string', subject: 'string' })),
    next: readFields(reply, { next: 'string' }).next,
  }
}
