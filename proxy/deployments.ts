import type { Log } from '../registry/log.ts'
import { Deployment, type DeploymentRef, type LoadDeployment } from './deployment.ts'

/** The deployments on this edge: those that routes name, those being prepared, and those that still drain. */
export class Deployments {
  readonly #load: LoadDeployment
  readonly #log: Log
  readonly #byId = new Map<string, Deployment>()
  readonly #retiring = new Set<Promise<void>>()

  constructor({ load, log }: { load: LoadDeployment; log: Log }) {
    this.#load = load
    this.#log = log
  }

  /** The deployment, loading from now on when it was not there. Called for every route change, so that a flip finds it under way. */
  want(ref: DeploymentRef): Deployment {
    const present = this.#byId.get(ref.id)
    if (present?.keep()) return this.#loading(present)
    const deployment = new Deployment(ref, { load: this.#load, log: this.#log })
    this.#byId.set(ref.id, deployment)
    return this.#loading(deployment)
  }

  find(id: string): Deployment | null {
    return this.#byId.get(id) ?? null
  }

  ids(): string[] {
    return [...this.#byId.keys()]
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

  #retire(deployment: Deployment): void {
    const retiring = deployment
      .retire()
      .then((isGone) => {
        if (isGone && this.#byId.get(deployment.ref.id) === deployment) this.#byId.delete(deployment.ref.id)
      })
      .catch((thrown: unknown) => this.#log.error({ deployment: deployment.ref.id, err: thrown }, 'drain failed'))
      .finally(() => this.#retiring.delete(retiring))
    this.#retiring.add(retiring)
  }

  // A failed load is logged where it fails, remembered, and told to whoever asks for the deployment.
  #loading(deployment: Deployment): Deployment {
    if (!deployment.loaded) deployment.whenLoaded().catch(() => undefined)
    return deployment
  }
}
