import type { StepLog } from '../registry/build-logs.ts'
import { AppError } from '../registry/errors.ts'
import type { Manifest } from '../registry/manifest.ts'
import { shownCommand } from '../sandbox/isolate/isolate.ts'
import type { Page } from './pack-pages.ts'
import type { TrialHost } from './trial-host.ts'

const attempts = 3
const pauseMs = 300

/** A static site must have a page to begin with. Throws OUTPUT_INVALID. */
export async function verifyPages(pages: Page[], { folder, log }: { folder: string; log: StepLog }): Promise<void> {
  await log.step('Verifying', `${pages.length} files, index.html is there`, async (step) => {
    if (pages.some(({ path }) => path === 'index.html')) return
    step.detail('index.html is not there')
    const other = pages.find(({ path }) => path.endsWith('/index.html'))
    const hint = other ? `; ${other.path} is: name its folder with build.output in atelier.config.ts` : ''
    throw new AppError('OUTPUT_INVALID', `there is no index.html in ${folder || 'the top folder'}${hint}`)
  })
}

/**
 * Asks what was packed for its health page. Throws APP_CRASHED, APP_NOT_LISTENING, APP_UNHEALTHY with the likely cause and the app's last
 * words.
 */
export async function verifyServer(
  host: TrialHost,
  { health, log }: { health: Manifest['health']; log: StepLog },
): Promise<void> {
  await log.step('Verifying', `GET ${health.path}`, (step) =>
    host.use(async () => step.detail(`GET ${health.path} → ${await askHealth(host, health)}`), step.output),
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

function firstWords(body: string): string {
  const text = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  return text ? ` (${text.length > 80 ? `${text.slice(0, 80)}…` : text})` : ''
}
