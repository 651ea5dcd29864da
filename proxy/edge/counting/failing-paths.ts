import type { Arm, FailingPath } from '../../../registry/rollout-reports.ts'

const shown = 5
const mostKept = 500
const longestPath = 200

/** Which paths of an arm failed, with which status, how often. Of more than 500 the least is forgotten, so one that fails often is among them however late it comes. */
export class FailingPaths {
  readonly #arm: Arm
  readonly #counts = new Map<string, FailingPath>()

  constructor(arm: Arm) {
    this.#arm = arm
  }

  /** `status` 0: the answer broke off. */
  add(whole: string, status: number): void {
    const path = whole.slice(0, longestPath)
    const key = `${status} ${path}`
    const known = this.#counts.get(key)
    if (known) known.count++
    else {
      if (this.#counts.size >= mostKept) this.#forgetLeast()
      this.#counts.set(key, { arm: this.#arm, path, status, count: 1 })
    }
  }

  worst(): FailingPath[] {
    return [...this.#counts.values()].sort((one, other) => other.count - one.count).slice(0, shown)
  }

  // The oldest of them. Where every path is another one that is the first or nearly.
  #forgetLeast(): void {
    let least: { key: string; count: number } | null = null
    for (const [key, { count }] of this.#counts) {
      if (!least || count < least.count) least = { key, count }
      if (count === 1) break
    }
    if (least) this.#counts.delete(least.key)
  }
}
