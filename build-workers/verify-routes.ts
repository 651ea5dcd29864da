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
type Finding = { path: string; problem: AppError } | { path: string; remark: string } | { path: string }

const atOnce = 4
const mostMs = 60_000
const longestAnswerMs = 30_000
const pauseMs = 300
const mostWords = 4096

/**
 * Asks the app for a sample of its routes, a few at a time and for a minute at most. Of an answer only the status counts, and nothing of the body is
 * waited for. Throws ROUTE_UNHEALTHY for a route that answers 500 or more twice, or a page or listed path that answers nothing; and for
 * a listed path that is not there. What an API leaves unanswered is a remark: it may wait for something to happen.
 */
export async function askRoutes(
  host: TrialHost,
  { listed, picked }: RouteSample,
  { timeoutMs }: { timeoutMs: number },
): Promise<RoutesAsked> {
  const questions: Question[] = [...listed.map((path) => ({ path, kind: 'listed' as const })), ...picked]
  const deadline = performance.now() + mostMs
  const findings: Finding[] = []
  const queue = questions.values()
  const run = async () => {
    for (const question of queue) {
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) findings.push(notAsked(question))
      else findings.push(await judge(host, question, Math.min(timeoutMs, longestAnswerMs, leftMs)))
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, questions.length) }, run))
  const problems = findings.flatMap((finding) => ('problem' in finding ? [finding.problem] : []))
  if (problems.length > 0) throw together(problems, host)
  const remarks = findings.flatMap((finding) => ('remark' in finding ? [finding.remark] : []))
  return { below500: picked.length - remarks.length, remarks }
}

async function judge(host: TrialHost, question: Question, timeoutMs: number): Promise<Finding> {
  const { path, kind } = question
  try {
    const { status } = await host.ask(path, { timeoutMs, mostBytes: 0 })
    if (status < 500) return judgeStatus(question, status)
    await wait(pauseMs)
    const again = await host.ask(path, { timeoutMs, mostBytes: mostWords })
    return again.status < 500 ? judgeStatus(question, again.status) : { path, problem: failure(question, again) }
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown
    if (thrown.code !== 'APP_UNHEALTHY')
      return { path, problem: new AppError(thrown.code, `GET ${path}: ${thrown.message}`, { cause: thrown }) }
    if (kind === 'api' && /no answer within/.test(thrown.message)) return { path, remark: thrown.message }
    return {
      path,
      problem: new AppError('ROUTE_UNHEALTHY', `${thrown.message}; ${advice(question)}`, { cause: thrown }),
    }
  }
}

function judgeStatus({ path, kind }: Question, status: number): Finding {
  if (kind !== 'listed' || (status !== 404 && status !== 410)) return { path }
  const message = `GET ${path} answered ${status}; deployments.healthCheck.routes.paths lists it, so it has to be there`
  return { path, problem: new AppError('ROUTE_UNHEALTHY', message) }
}

function failure(question: Question, { status, body }: Answer): AppError {
  const words = firstWords(body.toString('utf8'))
  return new AppError('ROUTE_UNHEALTHY', `GET ${question.path} answered ${status}${words}; ${advice(question)}`)
}

function advice({ kind }: Question): string {
  return kind === 'listed'
    ? 'deployments.healthCheck.routes.paths lists it, so it has to answer'
    : 'a route answers below 500; one that cannot do so here is left out with deployments.healthCheck.routes.except'
}

function notAsked({ path, kind }: Question): Finding {
  const sentence = `GET ${path} was not asked: ${mostMs / 1000} s were over`
  return kind === 'listed' ? { path, problem: new AppError('ROUTE_UNHEALTHY', sentence) } : { path, remark: sentence }
}

// The first one in full, the others by their first line, and what the app had to say.
function together(problems: AppError[], host: TrialHost): AppError {
  const [first, ...others] = problems
  if (!first) return new AppError('INTERNAL', 'no problem to tell')
  const more = others.slice(0, 10).map(({ message }) => `  ${message.split('\n')[0]?.replace(/; .*$/, '')}`)
  const words = first.code === 'ROUTE_UNHEALTHY' ? host.lastWords.map((line) => `  ${line}`) : []
  return new AppError(first.code, [first.message, ...more, ...words].join('\n'), { cause: first })
}
