/** An edge as the controller sees it. */
export type EdgeView = {
  /** Requests of the route that it last reported, per any unit of time that is the same for all. */
  recentRequests: number
  /** Age of its newest report. */
  reportedMsAgo: number
  /** Has it acked the weight of the stage? */
  hasWeight: boolean
}

/** Share of the traffic that must be seen for the clock of a stage to run. */
export const enoughCoverage = 0.8

/** Three reports of 2 s. */
export const staleAfterMs = 6000

/** Share (0–1) of the traffic whose edges report and work with the stage's weight; each edge counts the same when none has traffic. */
export function readCoverage(edges: readonly EdgeView[]): number {
  const total = edges.reduce((sum, { recentRequests }) => sum + recentRequests, 0)
  const weightOf = (edge: EdgeView) => (total > 0 ? edge.recentRequests / total : 1 / edges.length)
  return edges
    .filter(({ reportedMsAgo, hasWeight }) => reportedMsAgo <= staleAfterMs && hasWeight)
    .reduce((sum, edge) => sum + weightOf(edge), 0)
}
