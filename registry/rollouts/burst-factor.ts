export type Bin = { bad: number; total: number }

const ignoredBelow = 1.3
const fewestBad = 20
const largest = 20

/**
 * φ of one metric: how much more the bad requests of the old deployment vary from bin to bin than a coin would, over its last 30 minutes in bins
 * of 10 s. Pearson's χ² / (T − 1) with the binomial variance n·p·(1 − p), McCullagh and Nelder's estimate of overdispersion
 * (Generalized Linear Models, 2nd ed., §4.5.2). 1 when it is below 1.3 or there are fewer than 20 bad requests; at most 20. It is a heuristic:
 * evidence divided by it is careful, not exact.
 */
export function burstFactor(bins: readonly Bin[]): number {
  const used = bins.filter(({ total }) => total > 0)
  const bad = used.reduce((sum, bin) => sum + bin.bad, 0)
  const total = used.reduce((sum, bin) => sum + bin.total, 0)
  if (bad < fewestBad || used.length < 2 || bad >= total) return 1
  const share = bad / total
  const chiSquare = used.reduce((sum, bin) => {
    return sum + (bin.bad - bin.total * share) ** 2 / (bin.total * share * (1 - share))
  }, 0)
  const factor = chiSquare / (used.length - 1)
  return factor < ignoredBelow ? 1 : Math.min(largest, factor)
}
