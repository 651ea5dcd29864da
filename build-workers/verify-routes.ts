import { setTimeout as wait } from 'node:timers/promises'
import { AppError } from '../registry/errors.ts'
import type { RouteSample } from './route-sample.ts'
import type { Answer, TrialHost } from './trial-host.ts'
import { firstWords } from './words.ts'

export type RoutesAsked = {
  /** Of those that were picked. */
  below500: number
  /** Sentences for the log. */
  remarks: string[]
}

type Question = { path: string; kind: 'page' | 'api' | 'file' | 'listed' }
type Finding = { path: string; problem?: AppError; remark?: string }

const atOnce = 4
const mostMs = 60_000
const longestAnswerMs = 30_000
const pauseMs = 300
const mostWords = 4096
// A 503 is what such a route is for, while something is away that nobody said has to be there now.
const tellsReadiness = /(^|[-_./])(ready|readyz|readiness|live|livez|liveness|health|healthz|health-?checks?|status)$/i

/**
 * Asks the app for a sample of its routes, a few at a time and for a minute at most. Of an answer only the status counts, and nothing of the body is
 * waited for. Throws ROUTE_UNHEALTHY for a route that answers 500 or more twice, for a page or listed path that twice answers nothing,
 * and for a listed path that is not there; APP_CRASHED when the app ends. What an API leaves unanswered is a remark: it may wait for
 * something to happen. So is a 503 of what says by its name that it tells whether the app is ready, and what was picked and answers 500 or more while what the app keeps is not there (`isWithoutData`).
 */
export async function askRoutes(
  host: TrialHost,
  { listed, picked }: RouteSample,
  { timeoutMs, isWithoutData }: { timeoutMs: number; isWithoutData: boolean },
): Promise<RoutesAsked> {
  const questions: Question[] = [...listed.map((path) => ({ path, kind: 'listed' as const })), ...picked]
  const deadline = performance.now() + mostMs
  const findings: Finding[] = []
  const queue = questions.entries()
  const run = async () => {
    for (const [at, question] of queue) {
      const leftMs = deadline - performance.now()
      findings[at] =
        leftMs <= 0 ? notAsked(question) : await judge(host, question, Math.min(timeoutMs, longestAnswerMs, leftMs))
      if (hasEnded(findings)) return
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, questions.length) }, run))
  const judged = isWithoutData ? findings.map((finding, at) => excuse(finding, questions[at])) : findings
  const problems = judged.flatMap(({ path, problem }) => (problem ? [{ path, problem }] : []))
  if (problems.length > 0) throw together(problems, host)
  const remarks = judged.flatMap(({ remark }) => remark ?? [])
  return { below500: picked.length - remarks.length, remarks }
}

const isOver = (problem?: AppError) => problem !== undefined && problem.code !== 'ROUTE_UNHEALTHY'

function hasEnded(findings: Finding[]): boolean {
  return findings.some(({ problem }) => isOver(problem))
}

async function judge(host: TrialHost, question: Question, timeoutMs: number): Promise<Finding> {
  const { path, kind } = question
  const first = await attempt(host, path, { timeoutMs, mostBytes: 0 })
  if ('error' in first && kind === 'api' && /no answer within/.test(first.error.message))
    return { path, remark: first.error.message }
  if (isWell(first) || ('error' in first && first.error.code !== 'APP_UNHEALTHY')) return judgeAnswer(question, first)
  await wait(pauseMs)
  return judgeAnswer(question, await attempt(host, path, { timeoutMs, mostBytes: mostWords }))
}

// Nobody said that a route that was picked can answer over an empty folder.
function excuse(finding: Finding, question?: Question): Finding {
  const { path, problem } = finding
  if (!problem || isOver(problem) || question?.kind === 'listed') return finding
  return { path, remark: `${problem.message.replace(/; .*$/s, '')}; it does not count, for /data is empty here` }
}

type Attempt = Answer | { error: AppError }

async function attempt(
  host: TrialHost,
  path: string,
  bounds: { timeoutMs: number; mostBytes: number },
): Promise<Attempt> {
  try {
    return await host.ask(path, bounds)
  } catch (error) {
    if (error instanceof AppError) return { error }
    throw error
  }
}

function isWell(answer: Attempt): boolean {
  return 'status' in answer && answer.status < 500
}

function judgeAnswer({ path, kind }: Question, answer: Attempt): Finding {
  const problem = (message: string) => ({ path, problem: new AppError('ROUTE_UNHEALTHY', message) })
  const advice =
    kind === 'listed'
      ? 'deployments.healthCheck.routes.paths lists it, so it has to answer'
      : 'a route answers below 500; one that cannot do so here is left out with deployments.healthCheck.routes.except'
  if ('error' in answer)
    return answer.error.code === 'APP_UNHEALTHY'
      ? problem(`${answer.error.message}; ${advice}`)
      : { path, problem: answer.error }
  const { status, body } = answer
  if (status === 503 && kind !== 'listed' && tellsReadiness.test(path))
    return { path, remark: `GET ${path} answered 503; it does not count, for it tells what the app waits for` }
  if (status >= 500) return problem(`GET ${path} answered ${status}${firstWords(body.toString('utf8'))}; ${advice}`)
  if (kind === 'listed' && (status === 404 || status === 410))
    return problem(
      `GET ${path} answered ${status}; deployments.healthCheck.routes.paths lists it, so it has to be there`,
    )
  return { path }
}

function notAsked({ path, kind }: Question): Finding {
  const sentence = `GET ${path} was not asked: ${mostMs / 1000} s were over`
  return kind === 'listed' ? { path, problem: new AppError('ROUTE_UNHEALTHY', sentence) } : { path, remark: sentence }
}

// The first one in full, the others by their first line, and what the app had to say. Over which of several requests an app has ended nobody
// can tell: all that were under way are named.
function together(problems: { path: string; problem: AppError }[], host: TrialHost): AppError {
  const over = problems.filter(({ problem }) => isOver(problem))
  const [last] = over
  if (last) {
    const asked = over.map(({ path }) => `GET ${path}`).join(', ')
    return new AppError(last.problem.code, `${asked}: ${last.problem.message}`, { cause: last.problem })
  }
  const [first = '', ...others] = problems.map(({ problem }) => problem.message)
  const more = others.slice(0, 10).map((message) => `  ${message.replace(/; .*$/s, '')}`)
  const words = host.lastWords.map((line) => `  ${line}`)
  return new AppError('ROUTE_UNHEALTHY', [first, ...more, ...words].join('\n'), { cause: problems[0]?.problem })
}
