/** Chance with a seed: the same seed gives the same run on every machine. */
export class Random {
  readonly #state: Uint32Array

  constructor(seed: number) {
    this.#state = Uint32Array.from([seed, 0x9e3779b9, 0x243f6a88, 1])
    for (let round = 0; round < 16; round++) this.uniform()
  }

  /** In [0, 1). sfc32 (Doty-Humphrey, PractRand). */
  uniform(): number {
    const state = this.#state
    const [a = 0, b = 0, c = 0, d = 0] = state
    const sum = (a + b + d) >>> 0
    state[3] = d + 1
    state[0] = b ^ (b >>> 9)
    state[1] = c + (c << 3)
    state[2] = ((c << 21) | (c >>> 11)) + sum
    return sum / 2 ** 32
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  exponential(): number {
    return -Math.log(1 - this.uniform())
  }

  /** Exact up to a mean of 100, the rounded normal above. */
  poisson(mean: number): number {
    if (mean > 100) return Math.max(0, Math.round(mean + Math.sqrt(mean) * this.normal()))
    let count = 0
    for (let at = this.exponential(); at < mean; at += this.exponential()) count++
    return count
  }

  /** Failures before the first success. */
  geometric(chance: number): number {
    return chance >= 1 ? 0 : Math.floor(Math.log(1 - this.uniform()) / Math.log1p(-chance))
  }

  /** Exact up to a mean of 200, the rounded normal above. */
  binomial(trials: number, chance: number): number {
    if (chance > 0.5) return trials - this.binomial(trials, 1 - chance)
    if (chance <= 0 || trials <= 0) return 0
    const mean = trials * chance
    if (mean > 200) {
      return Math.min(trials, Math.max(0, Math.round(mean + Math.sqrt(mean * (1 - chance)) * this.normal())))
    }
    let count = 0
    for (let at = this.geometric(chance); at < trials; at += 1 + this.geometric(chance)) count++
    return count
  }

  /** Shape ≥ 1, scale 1 (Marsaglia and Tsang 2000). */
  gamma(shape: number): number {
    const d = shape - 1 / 3
    const c = 1 / Math.sqrt(9 * d)
    for (;;) {
      const x = this.normal()
      const v = (1 + c * x) ** 3
      if (v > 0 && Math.log(1 - this.uniform()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return d * v
    }
  }

  /** Both shapes ≥ 1. */
  beta(one: number, other: number): number {
    const x = this.gamma(one)
    return x / (x + this.gamma(other))
  }
}
