import { setTimeout as pause } from 'node:timers/promises'
import { type Deployment, findDeployment, queuePosition } from '../registry/deployments.ts'
import { type FollowUntil, followBuildLog } from '../registry/followed-log.ts'
import { isUnreachable } from '../registry/sql.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import type { RefUpdate, Verdict } from './ref-update.ts'
import { TokenEnded } from './token-watch.ts'

type Following = { say: (lines: string[]) => Promise<void>; signal: AbortSignal; until: FollowUntil }

const sayPlaceAfterMs = 1_500
const retryMs = 500
const retries = 120

/**
 * Shows a deployment's log as it grows and gives the verdict on its ref when it takes traffic, or when its rollout is over. Ending to follow, by `signal`, never ends the
 * deployment. A database that is away for a minute is waited for.
 */
export async function followDeployment(
  { ref }: RefUpdate,
  deployment: Deployment,
  { say, signal, until }: Following,
  deps: GatewayDeps,
): Promise<Verdict> {
  let seen = 0
  const waiting = setTimeout(() => void sayPlace(deployment, say, deps), sayPlaceAfterMs)
  try {
    for (let attempt = 0; attempt < retries && !signal.aborted; attempt++) {
      try {
        for await (const item of followBuildLog(deps.sql, deployment.id, { after: seen, signal, until })) {
          if ('end' in item) return verdictOf(ref, item.end, until)
          clearTimeout(waiting)
          await say(item.lines.map(({ text }) => text))
          seen = item.lines.at(-1)?.seq ?? seen
        }
      } catch (thrown) {
        if (!isUnreachable(thrown)) throw thrown
        deps.log.warn({ err: thrown, deployment: deployment.id }, 'push lost sight of its deployment')
        await pause(retryMs)
      }
    }
  } finally {
    clearTimeout(waiting)
  }
  const why = whyLeft(signal, deps)
  const sentence = `${why}; the deployment goes on: atelier logs ${deployment.id} -f`
  await say([sentence])
  return { ref, ok: false, reason: sentence }
}

function whyLeft({ reason }: AbortSignal, { stopping }: GatewayDeps): string {
  if (reason instanceof TokenEnded) return 'The token has ended'
  return stopping.aborted ? 'The gateway restarts' : 'The database does not answer'
}

function verdictOf(ref: string, ended: Deployment | null, until: FollowUntil): Verdict {
  if (!ended) return { ref, ok: false, reason: 'the app was deleted meanwhile' }
  // The ref has moved, and the version has had visitors, whatever came after, or is held before its first.
  if (ended.state === 'canary') return { ref, ok: true }
  if (ended.trafficAt && (until === 'traffic' || !takenBack.includes(ended.state))) return { ref, ok: true }
  return { ref, ok: false, reason: ended.stateReason ?? `the deployment ${ended.id} ended ${ended.state}` }
}

const takenBack: Deployment['state'][] = ['failed', 'rolled_back', 'cancelled']

async function sayPlace(deployment: Deployment, say: Following['say'], { sql, log }: GatewayDeps): Promise<void> {
  try {
    // It may be silent because it is being built: its config is read before anything is said.
    const { state } = (await findDeployment(sql, deployment.id)) ?? {}
    if (state !== 'queued') return
    const ahead = await queuePosition(sql, deployment.id)
    const others = ahead === 0 ? 'for a free worker' : `behind ${ahead} other${ahead === 1 ? '' : 's'}`
    await say([`-----> Waiting     ${others}`])
  } catch (thrown) {
    log.warn({ err: thrown, deployment: deployment.id }, 'place in the queue not shown')
  }
}
