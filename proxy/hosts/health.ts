import { AppError, messageOf } from '../../registry/errors.ts'
import type { Manifest } from '../../registry/manifest.ts'
import { probe, type Speech } from '../../sandbox/isolate/isolate.ts'

const attempts = 3
const pauseMs = 300

/** Asks the app for its health page, three times at most. Throws APP_UNHEALTHY with what the last answer was. */
export async function checkHealth({
  socketPath,
  speaks,
  health,
  host,
}: {
  socketPath: string
  speaks: Speech
  health: Manifest['health']
  host: string
}): Promise<void> {
  let last = ''
  for (let attempt = 1; attempt <= attempts; attempt++) {
    last = await askOnce({ socketPath, speaks }, health, host)
    if (last === '') return
    if (attempt < attempts) await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
  const wanted = health.strict ? '2xx or 3xx' : 'anything below 500'
  throw new AppError('APP_UNHEALTHY', `GET ${health.path} answered ${last}; healthy is ${wanted}`)
}

type Place = { socketPath: string; speaks: Speech }

async function askOnce(place: Place, health: Manifest['health'], host: string): Promise<string> {
  try {
    const { status } = await probe({ ...place, path: health.path, timeoutMs: health.timeout_sec * 1000, host })
    const isHealthy = health.strict ? status >= 200 && status < 400 : status < 500
    return isHealthy ? '' : String(status)
  } catch (thrown) {
    return `with an error (${messageOf(thrown)})`
  }
}
