const gamma = 1.02
const lnGamma = Math.log(gamma)
const longestMs = 120_000

/** Buckets of the histogram: 591 for 1 ms to 120 s. */
export const bucketCount = Math.ceil(Math.log(longestMs) / lnGamma)

/**
 * Latencies in logarithmic buckets: bucket b holds (γ^b, γ^(b+1)] ms with γ = 1.02, so what is read back is within 1 % of what was put in
 * (the mapping of DDSketch: Masson, Rim, Lee, VLDB 2019). What is faster than 1 ms is in the first bucket, what is slower than 120 s in the last.
 * Merging adds counts, so the merged histogram of many edges is the histogram of all their requests, in any order. It lives in registry/ because
 * edges fill it and rollouts read it.
 */
export class LatencyHistogram {
  readonly #counts = new Float64Array(bucketCount)
  #total = 0

  /** Reads what `toText` writes. Throws when it is anything else. */
  static parse(text: unknown): LatencyHistogram {
    if (typeof text !== 'string') throw new Error('latency: is no text')
    const histogram = new LatencyHistogram()
    const numbers = text === '' ? [] : text.split(' ').map(Number)
    if (numbers.length % 2 === 1 || !numbers.every((number) => Number.isSafeInteger(number) && number > 0))
      throw new Error('latency: is no list of steps and counts')
    let bucket = -1
    for (let index = 0; index < numbers.length; index += 2) {
      bucket += numbers[index] ?? 0
      if (bucket >= bucketCount) throw new Error('latency: has a bucket there is not')
      histogram.#put(bucket, numbers[index + 1] ?? 0)
    }
    return histogram
  }

  get total(): number {
    return this.#total
  }

  add(ms: number): void {
    this.#put(bucketOf(ms), 1)
  }

  merge(other: LatencyHistogram): void {
    for (const [bucket, count] of other.#counts.entries()) if (count > 0) this.#put(bucket, count)
  }

  /** The latency in ms that the share `q` of the requests does not exceed, ± 1 %; null without requests. */
  quantile(q: number): number | null {
    const bucket = this.#bucketAt(q)
    // The harmonic middle: as far from the upper edge as from the lower one, in proportion.
    return bucket === null ? null : (2 * upperEdge(bucket)) / (gamma + 1)
  }

  /** The upper edge in ms of the bucket that holds the quantile: nothing in that bucket is slower. Null without requests. */
  quantileEdge(q: number): number | null {
    const bucket = this.#bucketAt(q)
    return bucket === null ? null : upperEdge(bucket)
  }

  /** How many are slower than `ms`, which is the upper edge of a bucket. */
  countOver(ms: number): number {
    return [...this.#counts.entries()].reduce((sum, [bucket, count]) => (upperEdge(bucket) > ms ? sum + count : sum), 0)
  }

  /** Of each bucket with requests, how many buckets it is after the one before, the first after -1, and how many requests: `3 10 1 7`. */
  toText(): string {
    const numbers: number[] = []
    let last = -1
    for (const [bucket, count] of this.#counts.entries()) {
      if (count === 0) continue
      numbers.push(bucket - last, count)
      last = bucket
    }
    return numbers.join(' ')
  }

  #put(bucket: number, count: number): void {
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + count
    this.#total += count
  }

  // The bucket of the nearest rank: the ⌈q·n⌉-th smallest.
  #bucketAt(q: number): number | null {
    if (this.#total === 0) return null
    let left = Math.min(this.#total, Math.max(1, Math.ceil(q * this.#total)))
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count
      if (left <= 0) return bucket
    }
    return null
  }
}

/** The upper edge in ms of the bucket that `ms` falls into. */
export function bucketEdge(ms: number): number {
  return upperEdge(bucketOf(ms))
}

function bucketOf(ms: number): number {
  if (!(ms > 1)) return 0
  return Math.min(bucketCount - 1, Math.ceil(Math.log(ms) / lnGamma) - 1)
}

function upperEdge(bucket: number): number {
  return gamma ** (bucket + 1)
}
