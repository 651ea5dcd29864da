/**
 * Wilson's score bound (Wilson, JASA 22, 1927) of a share, `bad` of `total`: the upper one for z > 0 (1.645: one-sided 95 %; 2.326: 99 %), the
 * lower one for z < 0. Without data nothing is excluded: 1, and 0.
 */
export function wilsonBound(bad: number, total: number, z: number): number {
  if (total <= 0) return z > 0 ? 1 : 0
  const share = bad / total
  const square = (z * z) / total
  const middle = share + square / 2
  const spread = z * Math.sqrt((share * (1 - share)) / total + square / (4 * total))
  return Math.min(1, Math.max(0, (middle + spread) / (1 + square)))
}

/** One-sided 95 %. */
export const z95 = 1.645

/** One-sided 99 %. */
export const z99 = 2.326
