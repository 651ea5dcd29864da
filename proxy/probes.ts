import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { messageOf } from '../registry/errors.ts'
import type { Log } from '../registry/log.ts'
import { insertProbe, type WantedProbe, wantedProbes } from '../registry/rollout-probes.ts'
import type { Sql } from '../registry/sql.ts'
import type { EdgePool } from './edge-pool.ts'
import type { LocalDeployments } from './hosts/local-deployments.ts'
import { type KnownRoutes, routedDeployments } from './known-routes.ts'

export type ProbesDeps = {
  sql: Sql
  edgeId: string
  known: KnownRoutes
  edges: EdgePool
  deployments: LocalDeployments
  /** Where this proxy listens, if not everywhere. */
  host: string | undefined
  appsDomain: string
  /** Lets a request name the deployment it is for. */
  token: string
  log: Log
}

const probeCount = 10
const atATime = 5
const answerWithinMs = 5_000
const routedWithinMs = 5_000
const lookEveryMs = 20

/**
 * Requests of the platform's own to a new version that nobody visits, on the way that visitors take: through this proxy's port. They are counted as
 * nothing but what they are, healthy answers and others.
 */
export class Probes {
  readonly #deps: ProbesDeps
  readonly #underWay = new Set<string>()

  constructor(deps: ProbesDeps) {
    this.#deps = deps
  }

  /** Begins what is asked for and not under way. Returns before they are done. */
  async begin(): Promise<void> {
    const { sql, edgeId, log } = this.#deps
    for (const wanted of await wantedProbes(sql, edgeId)) {
      const key = `${wanted.rolloutId} ${wanted.turn}`
      if (this.#underWay.has(key)) continue
      this.#underWay.add(key)
      void this.#probe(wanted)
        .catch((thrown: unknown) => log.warn({ rollout: wanted.rolloutId, err: thrown }, 'probes not reported'))
        .finally(() => this.#underWay.delete(key))
    }
  }

  async #probe(wanted: WantedProbe): Promise<void> {
    const { sql, edgeId, log } = this.#deps
    const { rolloutId, turn, deploymentId } = wanted
    await this.#untilRouted(deploymentId)
    const failures = await this.#askAll(wanted)
    const [reason = null] = failures
    log.info({ rollout: rolloutId, deployment: deploymentId, failed: failures.length, reason }, 'probed')
    const failed = failures.length
    await insertProbe(sql, { rolloutId, turn, edgeId, passed: probeCount - failed, failed, reason })
  }

  // What edge processes go by may be a moment older than what is asked for.
  async #untilRouted(deploymentId: string): Promise<void> {
    const { known, edges } = this.#deps
    const deadline = performance.now() + routedWithinMs
    const isRouted = () => known.all().some((route) => routedDeployments(route).some(({ id }) => id === deploymentId))
    while (!isRouted() && performance.now() < deadline) await pause(lookEveryMs)
    await Promise.race([edges.follow(null), pause(routedWithinMs, null, { ref: false })])
  }

  // What those said that failed.
  async #askAll({ label, deploymentId }: WantedProbe): Promise<string[]> {
    const failures: string[] = []
    const health = this.#deps.deployments.find(deploymentId)?.loaded?.manifest.health ?? { path: '/', strict: false }
    let left = probeCount
    const ask = async () => {
      while (left-- > 0) {
        const failure = await this.#askOnce(label, deploymentId, health)
        if (failure !== null) failures.push(failure)
      }
    }
    await Promise.all(Array.from({ length: atATime }, ask))
    return failures
  }

  async #askOnce(
    label: string,
    deploymentId: string,
    { path, strict }: { path: string; strict: boolean },
  ): Promise<string | null> {
    const { edges, host, appsDomain, token } = this.#deps
    const asked = httpRequest({
      ...{ host: reachable(host), port: edges.port, path, agent: false, signal: AbortSignal.timeout(answerWithinMs) },
      headers: {
        host: `${label}.${appsDomain}`,
        accept: 'text/html,*/*',
        'user-agent': 'atelier-probe',
        'x-atelier-version': deploymentId,
        'x-atelier-token': token,
      },
    })
    try {
      asked.end()
      const [response] = await once(asked, 'response')
      response.resume()
      await once(response, 'end')
      const status = response.statusCode ?? 0
      const isHealthy = strict ? status >= 200 && status < 400 : status < 500
      return isHealthy ? null : `GET ${path} answered ${status}`
    } catch (thrown) {
      return `GET ${path}: ${messageOf(thrown)}`
    } finally {
      asked.destroy()
    }
  }
}

function reachable(host: string | undefined): string {
  return host === undefined || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
}
