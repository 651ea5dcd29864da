import { Deployment, type DeploymentDeps, type DeploymentRef } from './deployment.ts'

/** The deployments an edge process knows: those that routes name, those being prepared, and those that still drain. */
export class Deployments {
  readonly #deps: DeploymentDeps
  readonly #byId = new Map<string, Deployment>()

  constructor(deps: DeploymentDeps) {
    this.#deps = deps
  }

  find(id: string): Deployment | null {
    return this.#byId.get(id) ?? null
  }

  /** The deployment; of one that nothing was told of yet, its first request asks. */
  want(ref: DeploymentRef): Deployment {
    const present = this.#byId.get(ref.id)
    if (present) return present
    const deployment = new Deployment(ref, this.#deps)
    this.#byId.set(ref.id, deployment)
    return deployment
  }

  /** Those that were used since this was last asked, or are. */
  used(): string[] {
    return [...this.#byId.values()].filter((deployment) => deployment.wasUsed()).map(({ ref }) => ref.id)
  }

  forget(id: string): void {
    this.#byId.get(id)?.host?.close()
    this.#byId.delete(id)
  }
}
