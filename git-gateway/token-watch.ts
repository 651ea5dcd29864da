import type { IncomingMessage } from 'node:http'
import { AppError } from '../registry/errors.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { type Address, authorize } from './guard.ts'
import { Refused } from './ref-update.ts'

/** Why an exchange is ended while it goes on: whoever asked may not any more. */
export class TokenEnded extends Refused {
  constructor() {
    super('the token is no longer valid, or no longer good for this')
  }
}

// What is under way is cut within five seconds.
const askEveryMs = 4_000

/** Asks every four seconds whether whoever pushes or clones may still; when not, `ended` is aborted with TokenEnded. */
export class TokenWatch implements Disposable {
  readonly ended: AbortSignal
  readonly #asking: NodeJS.Timeout

  constructor(request: IncomingMessage, address: Address, deps: GatewayDeps) {
    const ending = new AbortController()
    this.ended = ending.signal
    const ask = async () => {
      if (!(await isStillGood(request, address, deps))) ending.abort(new TokenEnded())
    }
    this.#asking = setInterval(() => void ask(), askEveryMs)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#asking)
  }
}

// A database that does not answer says nothing about a token.
async function isStillGood(...asked: Parameters<typeof authorize>): Promise<boolean> {
  try {
    await authorize(...asked)
    return true
  } catch (thrown) {
    return !(thrown instanceof AppError && ['UNAUTHENTICATED', 'FORBIDDEN', 'APP_NOT_FOUND'].includes(thrown.code))
  }
}
