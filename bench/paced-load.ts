import { join } from 'node:path'
import { run } from '../test/support/command.ts'

export type PacedLoad = {
  port: number
  host: string
  path: string
  headers?: Record<string, string>
  /** Requests per second, evenly spread, whatever the server does. */
  rate: number
  connections: number
  seconds: number
}

/** In milliseconds. `late99`: how late this client itself was with the 99th of 100 requests, for want of processor time. */
export type PacedResult = { p50: number; p99: number; late99: number }

/**
 * Latency at a constant rate, from when each request was due. wrk cannot do it: it asks again when it was answered, so a server that
 * stands still is asked less and its pause counts as one slow request. Throws when one answer is no 200.
 */
export async function pacedLatency(load: PacedLoad): Promise<PacedResult> {
  const program = join(import.meta.dirname, 'paced-client.ts')
  const { code, stdout, stderr } = await run(process.execPath, [program, JSON.stringify(load)], { env: process.env })
  if (code !== 0) throw new Error(`the paced client ended with ${code}: ${stderr}`)
  return JSON.parse(stdout)
}
