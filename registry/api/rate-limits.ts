import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import type { Config } from '../config.ts'
import { AppError } from '../errors.ts'

type Kind = keyof Config['apiLimits']

/** What is left of a limit. `resetSec`: until it is whole again. */
export type Left = { kind: Kind; limit: number; remaining: number; resetSec: number } | null

const windowSec = 60

/** Too many requests: says when to come back. */
export class RateLimited extends AppError {
  readonly headers: Record<string, string>

  constructor(left: NonNullable<Left>) {
    const whose = left.kind === 'token' ? 'with this token' : 'from this address'
    super('RATE_LIMITED', `more than ${left.limit} requests ${whose} within a minute; come back in ${left.resetSec} s`)
    this.headers = { 'retry-after': String(left.resetSec), ...headersOf(left) }
  }
}

/**
 * How many requests a minute one token may send, and one address whatever token it sends. Counted by this process: each registry gives every client its own
 * allowance, and a restart gives a new one.
 */
export class RateLimits {
  readonly #limits: Config['apiLimits']
  readonly #limiters: Record<Kind, RateLimiterMemory>

  constructor(limits: Config['apiLimits']) {
    this.#limits = limits
    const limiter = (points: number) => new RateLimiterMemory({ points: Math.max(1, points), duration: windowSec })
    this.#limiters = { token: limiter(limits.token), address: limiter(limits.address) }
  }

  /** Counts a request. Throws RateLimited when it is one too many. */
  async take(kind: Kind, who: string): Promise<Left> {
    const limit = this.#limits[kind]
    if (limit === 0) return null
    try {
      return leftOf(kind, limit, await this.#limiters[kind].consume(who))
    } catch (thrown) {
      throw thrown instanceof RateLimiterRes ? new RateLimited(leftOf(kind, limit, thrown)) : thrown
    }
  }
}

/** An answer with what is left (draft-ietf-httpapi-ratelimit-headers). */
export function withLimits(response: Response, left: Left): Response {
  if (left) for (const [name, value] of Object.entries(headersOf(left))) response.headers.set(name, value)
  return response
}

function leftOf(kind: Kind, limit: number, { remainingPoints, msBeforeNext }: RateLimiterRes): NonNullable<Left> {
  return { kind, limit, remaining: remainingPoints, resetSec: Math.max(1, Math.ceil(msBeforeNext / 1000)) }
}

function headersOf({ kind, limit, remaining, resetSec }: NonNullable<Left>): Record<string, string> {
  return {
    'ratelimit-policy': `"${kind}";q=${limit};w=${windowSec}`,
    ratelimit: `"${kind}";r=${remaining};t=${resetSec}`,
  }
}
