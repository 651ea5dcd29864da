import { apiUrl, type Config, consoleUrl } from '../config.ts'
import { AppError } from '../errors.ts'
import type { Log } from '../log.ts'
import { errorResponse } from './error-response.ts'

type Handler = (request: Request) => Response | Promise<Response>

/**
 * One handler for the role's socket: the API and the console, each under its own host name and no other, so that a page on an app's
 * domain, or a name somebody else points here, never reaches them. `/health` answers under any name.
 */
export function createFront({
  config,
  log,
  api,
  console,
}: {
  config: Config
  log: Log
  api: Handler
  console: Handler
}): Handler {
  const handlers = new Map<string, Handler>([
    [new URL(apiUrl(config)).hostname, api],
    [new URL(consoleUrl(config)).hostname, console],
  ])
  return async (request) => {
    const { hostname, pathname } = new URL(request.url)
    const handler = handlers.get(hostname.toLowerCase().replace(/\.$/, '')) ?? (pathname === '/health' ? api : null)
    if (handler) return handler(request)
    return errorResponse(new AppError('HOST_UNKNOWN', `this is not ${hostname}; the API is at ${apiUrl(config)}`), {
      log,
    })
  }
}
