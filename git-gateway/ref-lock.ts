/**
 * One thing at a time for each ref of each app. In this process is enough: two gateways never share a repository, and git's own
 * compare-and-set guards the ref itself.
 */
export class RefLocks {
  readonly #tails = new Map<string, Promise<unknown>>()

  async hold<T>(app: string, ref: string, task: () => Promise<T>): Promise<T> {
    const key = `${app} ${ref}`
    const before = this.#tails.get(key) ?? Promise.resolve()
    const turn = before.then(task, task)
    this.#tails.set(key, turn)
    try {
      return await turn
    } finally {
      if (this.#tails.get(key) === turn) this.#tails.delete(key)
    }
  }
}
