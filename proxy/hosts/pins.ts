import { findByVersion } from '../../registry/deployments.ts'
import { AppError, toAppError } from '../../registry/errors.ts'
import { may } from '../../registry/rights.ts'
import { readRoutedDeployment } from '../../registry/routes.ts'
import type { Sql } from '../../registry/sql.ts'
import { authenticate } from '../../registry/tokens.ts'
import type { FromEdge, ToEdge } from '../edge-messages.ts'
import type { KnownRoutes } from '../known-routes.ts'
import type { LocalRef } from './local-deployment.ts'
import type { LocalDeployments } from './local-deployments.ts'

export type PinsDeps = { sql: Sql; known: KnownRoutes; deployments: LocalDeployments }

type Asked = Extract<FromEdge, { type: 'pin' }>

// Longer than an edge process remembers that it may be shown.
const heldMs = 10 * 60_000

/** Versions that testers look at: whoever may read the app is shown any that is kept, and what is looked at stays on this machine for a while. */
export class Pins {
  readonly #deps: PinsDeps
  readonly #held = new Map<string, number>()

  constructor(deps: PinsDeps) {
    this.#deps = deps
  }

  /** Ids to keep besides the routed ones. */
  held(): string[] {
    const now = performance.now()
    for (const [id, until] of this.#held) if (until < now) this.#held.delete(id)
    return [...this.#held.keys()]
  }

  async answer({ turn, ...asked }: Omit<Asked, 'type'>): Promise<ToEdge> {
    try {
      const { id, version, appId, environment, label } = await this.#find(asked)
      return { type: 'pinned', turn, ref: { id, version, appId, environment, label }, error: null }
    } catch (thrown) {
      const { code, message } = toAppError(thrown)
      return { type: 'pinned', turn, ref: null, error: { code, message } }
    }
  }

  async #find({ routeId, version, token }: Omit<Asked, 'type' | 'turn'>): Promise<LocalRef> {
    const { sql, known, deployments } = this.#deps
    const route = known.all().find(({ id }) => id === routeId)
    const caller = await authenticate(sql, token)
    if (!caller)
      throw new AppError('UNAUTHENTICATED', 'x-atelier-token is no valid token; make one with: atelier tokens create')
    if (!route || !may(caller, 'read', route.appId)) throw new AppError('FORBIDDEN', 'this token may not see this app')
    const named = await findByVersion(sql, route.appId, version, route.environment)
    for (const { id } of named.filter((deployment) => deployment.routeId === routeId)) {
      const ref = await readRoutedDeployment(sql, id)
      if (!ref) continue
      this.#held.set(id, performance.now() + heldMs)
      deployments.want(ref)
      return ref
    }
    throw new AppError(
      'VERSION_NOT_FOUND',
      `${route.appId} keeps no version ${version} at this address; see: atelier deploys`,
    )
  }
}
