import type { StepLog } from '../registry/build-logs.ts'
import { AppError } from '../registry/errors.ts'
import type { Manifest } from '../registry/manifest.ts'
import { shownCommand } from '../sandbox/isolate/isolate.ts'
import type { Page } from './pack-pages.ts'
import { hasFileFor, type RouteSample } from './route-sample.ts'
import { plural } from './routes/route-set.ts'
import type { TrialHost } from './trial-host.ts'
import { askRoutes, type RoutesAsked } from './verify-routes.ts'
import { firstWords } from './words.ts'

const attempts = 3
const pauseMs = 300

export type PagesCheck = {
  folder: string
  /** Paths of the config that must exist. */
  listed: string[]
  /** Whether something else than a file of its own answers at a path. */
  isAnswered: (path: string) => boolean
  log: StepLog
}

/** A static site must have a page to begin with, and what the config lists. Throws OUTPUT_INVALID, ROUTE_UNHEALTHY. */
export async function verifyPages(pages: Page[], { folder, listed, isAnswered, log }: PagesCheck): Promise<void> {
  await log.step('Verifying', `${pages.length} files, index.html is there`, async (step) => {
    if (pages.some(({ path }) => path === 'index.html')) return expectListed()
    step.detail('index.html is not there')
    const other = pages.find(({ path }) => path.endsWith('/index.html'))
    const hint = other ? `; ${other.path} is: name its folder with build.output in atelier.config.ts` : ''
    throw new AppError('OUTPUT_INVALID', `there is no index.html in ${folder || 'the top folder'}${hint}`)

    function expectListed(): void {
      const missing = listed.filter((path) => !hasFileFor(path, pages) && !isAnswered(path))
      if (missing.length > 0)
        throw new AppError(
          'ROUTE_UNHEALTHY',
          `there is no file for ${missing.join(', ')}; deployments.healthCheck.routes.paths lists what has to be there`,
        )
      if (listed.length > 0)
        step.detail(
          `${pages.length} files, index.html and ${listed.length} listed ${plural(listed.length, 'path')} are there`,
        )
    }
  })
}

export type ServerCheck = {
  health: Manifest['health']
  sample: RouteSample
  /** The folder it keeps at /data is an empty one here. */
  isWithoutData: boolean
  log: StepLog
}

/**
 * Asks what was packed for its health page and for a sample of its routes. Throws APP_CRASHED, APP_NOT_LISTENING, APP_UNHEALTHY, ROUTE_UNHEALTHY
 * with the likely cause and the app's last words.
 */
export async function verifyServer(
  host: TrialHost,
  { health, sample, isWithoutData, log }: ServerCheck,
): Promise<void> {
  await log.step('Verifying', `GET ${health.path}`, (step) =>
    host.use(async () => {
      const healthy = `GET ${health.path} → ${await askHealth(host, health)}`
      step.detail(healthy)
      const asked = await askRoutes(host, sample, { timeoutMs: health.timeout_sec * 1000, isWithoutData })
      for (const remark of asked.remarks) step.output(remark)
      step.detail([healthy, ...describeSample(sample, asked)].join(', '))
    }, step.output),
  )
}

async function askHealth(host: TrialHost, health: Manifest['health']): Promise<number> {
  let last = ''
  for (let attempt = 1; ; attempt++) {
    try {
      const { status, body } = await host.ask(health.path, { timeoutMs: health.timeout_sec * 1000 })
      if (health.strict ? status >= 200 && status < 400 : status < 500) return status
      last = `answered ${status}${firstWords(body.toString('utf8'))}`
      const ended = await host.endsWithin(pauseMs)
      if (ended) throw ended
    } catch (thrown) {
      if (!(thrown instanceof AppError) || thrown.code !== 'APP_UNHEALTHY') throw thrown
      last = thrown.message.replace(/^GET \S+: /, 'failed: ')
    }
    if (attempt === attempts) break
  }
  const wanted = health.strict ? '2xx or 3xx' : 'below 500'
  const setting = health.strict ? '' : '; another path can be set with deployments.healthCheck.path'
  const message = `GET ${health.path} ${last}; a healthy app (${shownCommand(host.runs)}) answers ${wanted}${setting}`
  throw new AppError('APP_UNHEALTHY', [message, ...host.lastWords.map((line) => `  ${line}`)].join('\n'))
}

function describeSample(
  { picked, listedInAll, known, isHealthKnown }: RouteSample,
  { below500 }: RoutesAsked,
): string[] {
  return [
    ...(picked.length > 0 ? [`${below500 + Number(isHealthKnown)} of ${known} routes below 500`] : []),
    ...(listedInAll > 0 ? [`${listedInAll} listed ${plural(listedInAll, 'path')} there`] : []),
  ]
}
