import { type HostReport, reportHosts } from '../../registry/edge-hosts.ts'
import type { Sql } from '../../registry/sql.ts'

export type HostReportsDeps = {
  sql: Sql
  edgeId: string
  /** As it is now, of every deployment with server code. */
  hosts: () => HostReport[]
}

/** Tells the registry who sleeps, who is awake and in how many isolates, whenever that has changed. */
export class HostReports {
  readonly #deps: HostReportsDeps
  /** By deployment, what was told last; null: the registry may have something of an earlier run. */
  #told: Map<string, HostReport> | null = null

  constructor(deps: HostReportsDeps) {
    this.#deps = deps
  }

  /** `isNew`: the registry had forgotten this edge. */
  async tell(isNew: boolean): Promise<void> {
    const { sql, edgeId } = this.#deps
    const told = isNew ? null : this.#told
    const now = new Map(this.#deps.hosts().map((report) => [report.deploymentId, report]))
    const changed = [...now.values()].filter((report) => !isSame(told?.get(report.deploymentId), report))
    const gone = told && [...told.keys()].filter((id) => !now.has(id))
    if (changed.length === 0 && gone?.length === 0) return
    this.#told = null
    await reportHosts(sql, edgeId, { changed, gone })
    this.#told = now
  }
}

function isSame(before: HostReport | undefined, now: HostReport): boolean {
  return before?.state === now.state && before.isolates === now.isolates
}
