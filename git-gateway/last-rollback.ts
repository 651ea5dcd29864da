import { stepLine } from '../registry/build-logs.ts'
import type { Deployment } from '../registry/deployments.ts'
import { nameOf } from '../registry/live.ts'
import { reasonLines, takenBack } from '../registry/rollback-reasons.ts'
import { readRolloutsToShow } from '../registry/rollout-view.ts'
import type { GatewayDeps } from './gateway-deps.ts'

const mostLines = 12

/** What to tell whoever pushes after a version was taken back: that, and why. Nothing when it cannot be had. */
export async function linesOfLastRollback(
  { appId, environment, id }: Pick<Deployment, 'appId' | 'environment' | 'id'>,
  { sql, log }: Pick<GatewayDeps, 'sql' | 'log'>,
): Promise<string[]> {
  if (environment !== 'production') return []
  try {
    const [last] = (await readRolloutsToShow(sql, [appId])).filter(({ reasons }) => reasons !== null)
    if (!last?.reasons) return []
    const lines = reasonLines(last.reasons)
    return [
      stepLine('Before', takenBack(nameOf(last.to), last.rollout.sentence), null),
      ...lines.slice(0, mostLines),
      ...(lines.length > mostLines ? [`       …         all of it: atelier logs ${last.to.id}`] : []),
    ]
  } catch (thrown) {
    log.warn({ err: thrown, deployment: id }, 'last rollback not told')
    return []
  }
}
