import { followBuildLog } from '../registry/build-logs.ts'
import { type Deployment, queuePosition } from '../registry/deployments.ts'
import { AppError } from '../registry/errors.ts'
import { isUnreachable } from '../registry/sql.ts'
import type { GatewayDeps } from './gateway.ts'
import type { RefUpdate, Verdict } from './ref-update.ts'

type Following = { say: (lines: string[]) => Promise<void>; signal: AbortSignal }

/**
 * Shows a deployment's log as it grows and gives the verdict on its ref when it has ended. Ending to follow, by `signal`, never ends the
 * deployment.
 */
export async function followDeployment(
  { ref }: RefUpdate,
  deployment: Deployment,
  { say, signal }: Following,
  deps: GatewayDeps,
): Promise<Verdict> {
  const waiting = setTimeout(() => void sayPlace(deployment, say, deps), 1500)
  try {
    for await (const item of followBuildLog(deps.sql, deployment.id, { signal })) {
      if ('end' in item) return verdictOf(ref, item.end)
      clearTimeout(waiting)
      await say(item.lines.map(({ text }) => text))
    }
  } catch (thrown) {
    if (!isUnreachable(thrown)) throw thrown
    deps.log.warn({ err: thrown, deployment: deployment.id }, 'push lost sight of its deployment')
    return leave(
      ref,
      `The database does not answer just now; the deployment goes on: atelier logs ${deployment.id} -f`,
      say,
    )
  } finally {
    clearTimeout(waiting)
  }
  return leave(ref, `The gateway restarts; the deployment goes on: atelier logs ${deployment.id} -f`, say)
}

async function leave(ref: string, sentence: string, say: Following['say']): Promise<Verdict> {
  await say([sentence])
  return { ref, ok: false, reason: sentence }
}

function verdictOf(ref: string, ended: Deployment | null): Verdict {
  if (!ended) return { ref, ok: false, reason: 'the app was deleted meanwhile' }
  // Whatever came after, it has been live, and the ref has moved.
  if (ended.liveAt) return { ref, ok: true }
  return { ref, ok: false, reason: ended.stateReason ?? `the deployment ${ended.id} ended ${ended.state}` }
}

async function sayPlace(deployment: Deployment, say: Following['say'], { sql, log }: GatewayDeps): Promise<void> {
  try {
    const ahead = await queuePosition(sql, deployment.id)
    const others = ahead === 0 ? 'for a free worker' : `behind ${ahead} other${ahead === 1 ? '' : 's'}`
    await say([`-----> Waiting     ${others}`])
  } catch (thrown) {
    log.warn({ err: new AppError('INTERNAL', 'queue position', { cause: thrown }) }, 'place in the queue not shown')
  }
}
