import { run } from '../test/support/command.ts'
import { ask } from '../test/support/http.ts'
import { requireProgram } from '../test/support/machine.ts'
import { meterCpu } from './cpu.ts'
import { repeat } from './measure.ts'
import { settings } from './settings.ts'

/** Who is asked, and for what. */
export type Target = { port: number; host?: string; path?: string }

const warmUpSeconds = 2

type LoadOptions = { seconds?: number; script?: string }

/** 64 kept-alive connections that ask again and again, by wrk. `script` is a Lua file of wrk's. Throws when one answer is no 2xx. */
export async function load(
  { port, host = 'localhost', path = '/' }: Target,
  { seconds = settings.seconds, script }: LoadOptions = {},
): Promise<{ requests: number; perSecond: number }> {
  const wrk = await requireProgram('wrk')
  const scriptArgs = script === undefined ? [] : ['-s', script]
  const args = ['-t1', '-c64', `-d${seconds}`, ...scriptArgs, '-H', `Host: ${host}`, `http://127.0.0.1:${port}${path}`]
  const { stdout } = await run(wrk, args, { env: process.env })
  const [, requests] = /(\d+) requests in/.exec(stdout) ?? []
  const [, perSecond] = /Requests\/sec:\s+([\d.]+)/.exec(stdout) ?? []
  if (/Non-2xx|Socket errors/.test(stdout) || !Number(perSecond)) throw new Error(stdout)
  return { requests: Number(requests), perSecond: Number(perSecond) }
}

export async function requestsPerSecond(target: Target, options?: LoadOptions): Promise<number> {
  return (await load(target, options)).perSecond
}

/** One side of a comparison, and the processes that do its work. */
export type Side = Target & { pids: () => number[] }
export type Rate = { perSecond: number; cpuMicros: number }

/** Each side under load by turns, once everybody is warm. Throws when two sides answer differently. */
export async function compareRates(sides: Side[]): Promise<Rate[][]> {
  const bodies = await Promise.all(sides.map(bodyOf))
  const odd = bodies.find((body) => body !== bodies[0])
  if (odd !== undefined) throw new Error(`not the same work: ${bodies[0]?.slice(0, 80)} and ${odd.slice(0, 80)}`)
  for (const side of sides) await load(side, { seconds: warmUpSeconds })
  return byTurns(sides, measureRate)
}

/** Requests per second, and microseconds of processor time that each request costs the side's processes. */
export async function measureRate(side: Side, options?: LoadOptions): Promise<Rate> {
  const cpu = meterCpu(side.pids())
  const { requests, perSecond } = await load(side, options)
  return { perSecond, cpuMicros: (1e6 * cpu()) / requests }
}

/** `measure` of each side once a round, as often as the settings say; the values of each side, in the order of the sides. */
export async function byTurns<Side, Value>(sides: Side[], measure: (side: Side) => Promise<Value>): Promise<Value[][]> {
  const values: Value[][] = sides.map(() => [])
  await repeat(settings.rounds, async () => {
    for (const [index, side] of sides.entries()) values[index]?.push(await measure(side))
  })
  return values
}

async function bodyOf({ port, host = 'localhost', path = '/' }: Target): Promise<string> {
  const { status, body } = await ask(port, host, path)
  if (status !== 200) throw new Error(`${host}${path} answers ${status}: ${body.slice(0, 200)}`)
  return body
}
