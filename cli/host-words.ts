import { readFields } from './reply.ts'

/** How a deployment's processes are doing, in words; nothing where it has none, or nobody has said. `host` is that of the API. */
export function howItRuns(host: unknown): string {
  if (!host) return ''
  const { state, isolates, edges, awake_on } = readFields(host, {
    ...{ state: 'string', isolates: 'number', edges: 'number', awake_on: 'number' },
  } as const)
  if (state === 'asleep') return 'asleep until asked'
  if (state === 'crashed') return 'crashed, starts again'
  if (state !== 'awake') return state
  const where = awake_on < edges ? ` on ${awake_on} of ${edges} edges` : ''
  return isolates > awake_on ? `awake${where}, ${isolates} isolates` : `awake${where}`
}
