import type { HostReport } from '../../registry/edge-hosts.ts'
import { toAppError } from '../../registry/errors.ts'
import type { ToEdge } from '../edge-messages.ts'
import { LocalDeployment, type LocalDeploymentDeps, type LocalRef } from './local-deployment.ts'

/** The deployments on this machine: those that routes name, those being prepared, and those that still drain. */
export class LocalDeployments {
  readonly #deps: LocalDeploymentDeps
  readonly #byId = new Map<string, LocalDeployment>()
  readonly #retiring = new Set<Promise<void>>()
  #awake: ReadonlySet<string> = new Set()

  constructor(deps: LocalDeploymentDeps) {
    this.#deps = deps
  }

  /** The deployment, loading from now on when it was not there. Called for every route change, so that a flip finds it under way. */
  want(ref: LocalRef): LocalDeployment {
    const present = this.#byId.get(ref.id)
    if (present?.keep()) return this.#loading(present)
    const deployment = new LocalDeployment(ref, this.#deps)
    this.#byId.set(ref.id, deployment)
    return this.#loading(deployment)
  }

  find(id: string): LocalDeployment | null {
    return this.#byId.get(id) ?? null
  }

  /** What an edge process that begins must know of those that are loaded. */
  told(): ToEdge[] {
    return [...this.#byId.values()].flatMap((deployment) => deployment.told() ?? [])
  }

  /** What the registry is told of those that have a host. */
  reports(): HostReport[] {
    return [...this.#byId.values()].flatMap((deployment) => deployment.report() ?? [])
  }

  /** A request waits for it in an edge process that knows nothing of it. */
  answer(id: string, reply: (message: ToEdge) => void): void {
    const deployment = this.find(id)
    const told = deployment?.told()
    if (told) reply(told)
    else if (deployment) deployment.whenLoaded().catch((thrown: unknown) => reply(failed(id, thrown)))
    else
      reply({ type: 'failed', id, error: { code: 'DEPLOYMENT_STATE', message: `deployment ${id} is not served here` } })
  }

  /** A request waits for its host in some edge process. */
  wake(id: string): void {
    this.find(id)?.wake()
  }

  used(ids: string[]): void {
    for (const id of ids) this.find(id)?.used()
  }

  /** These, and no others, do not sleep however little they are used. */
  keepAwake(ids: ReadonlySet<string>): void {
    this.#awake = ids
  }

  /** Puts those to sleep that nobody uses. */
  sleepIdle(): void {
    for (const [id, deployment] of this.#byId) {
      if (this.#awake.has(id)) continue
      deployment
        .sleepIfIdle()
        .catch((thrown: unknown) =>
          this.#deps.log.error({ deployment: deployment.ref.id, err: thrown }, 'not put to sleep'),
        )
    }
  }

  /** Replaces those whose thread is stuck. */
  checkAlive(): void {
    for (const deployment of this.#byId.values()) deployment.checkAlive()
  }

  /** Drains and stops every deployment that is not named. */
  keepOnly(wanted: ReadonlySet<string>): void {
    for (const [id, deployment] of this.#byId) if (!wanted.has(id)) this.#retire(deployment)
  }

  /** Stops every host, at once. */
  async close(): Promise<void> {
    await Promise.all([...this.#byId.values()].map((deployment) => deployment.close()))
    await Promise.all(this.#retiring)
  }

  #retire(deployment: LocalDeployment): void {
    const { log } = this.#deps
    const retiring = deployment
      .retire()
      .then((isGone) => {
        if (isGone && this.#byId.get(deployment.ref.id) === deployment) this.#byId.delete(deployment.ref.id)
      })
      .catch((thrown: unknown) => log.error({ deployment: deployment.ref.id, err: thrown }, 'drain failed'))
      .finally(() => this.#retiring.delete(retiring))
    this.#retiring.add(retiring)
  }

  // A failed load is logged where it fails, remembered, and told to whoever asks for the deployment.
  #loading(deployment: LocalDeployment): LocalDeployment {
    if (!deployment.loaded) deployment.whenLoaded().catch(() => undefined)
    return deployment
  }
}

function failed(id: string, thrown: unknown): ToEdge {
  const { code, message } = toAppError(thrown)
  return { type: 'failed', id, error: { code, message } }
}
