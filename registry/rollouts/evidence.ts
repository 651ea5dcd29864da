/**
 * Evidence that the candidate is worse, from nothing but *who got* the bad units. When 5 % of the traffic goes to a deployment that is as
 * good as the other, 5 % of the bad units are its own, whatever time of day, load or shared outage there is. Each bettor θ bets "a bad unit is θ
 * times as likely to be the candidate's"; E is the mean of what they turned 1 into.
 *
 * If the candidate is no worse, each bad unit is its own with probability ≤ w, so E is a non-negative supermartingale that starts at 1 and
 * P(E ever ≥ B) ≤ 1/B (Ville 1939): for any number of looks, and for any error rate that changes in time.
 * Sources: Shafer, "Testing by betting" (JRSS A 184, 2021); Ramdas, Grünwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid
 * inference" (Statistical Science 38, 2023); the same idea for canaries: Lindon, Malek (arXiv 2011.03567), Lindon et al. (arXiv 2205.14762).
 */
const bettors = [1.25, 1.5, 2, 3, 5, 10, 30, 100]

/** Share of the false-rollback rate that watches from the start of a stage have; those from mid-window have the rest. */
const shares = { stage: 0.8, half: 0.2 }

/** Bad units of one segment: `weight` is w, `candidate` c, `baseline` b. */
export type BadUnits = { weight: number; candidate: number; baseline: number }

/** Per bettor: ln of what it has, before the burst factor. */
export type Bets = number[]

export function openBets(): Bets {
  return bettors.map(() => 0)
}

/** The bets after a further segment: c·ln θ − (c + b)·ln(1 + w(θ − 1)) is added to each. */
export function placeBets(bets: Bets, { weight, candidate, baseline }: BadUnits): Bets {
  return bettors.map((theta, at) => {
    const gain = candidate * Math.log(theta) - (candidate + baseline) * Math.log1p(weight * (theta - 1))
    return (bets[at] ?? 0) + gain
  })
}

/**
 * ln E of a watch: the mean over the bettors of exp(bet / φ). φ ≥ 1, the burst factor, takes back what bad units that come in heaps seem to
 * say; with φ = 1 the bound is exact.
 */
export function readBets(bets: Bets, burstFactor: number): number {
  return lnMeanExp(bets.map((bet) => bet / burstFactor))
}

/** ln E over the given segments, from the watch's opening to now. */
export function lnEvidence(segments: readonly BadUnits[], burstFactor = 1): number {
  return readBets(segments.reduce(placeBets, openBets()), burstFactor)
}

/**
 * ln B of a watch. Errors and latency × K compared stages × (1/B of its two watches) = α, the bound for the whole rollout:
 * B = 2K / (0.8 α) from the start of a stage (750 for three stages and 1 %), 2K / (0.2 α) from mid-window (3000). Where stages have unequal parts of
 * α, K is 1 over the stage's.
 */
export function lnBar(opens: 'stage' | 'half', comparedStages: number, falseRollbackRate: number): number {
  return Math.log((2 * comparedStages) / (shares[opens] * falseRollbackRate))
}

/** ln of the mean of exp(value), without leaving the range of numbers. */
export function lnMeanExp(values: readonly number[]): number {
  const most = Math.max(...values)
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0) / values.length)
}
