import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { cleanLine } from '../registry/build-logs.ts'
import { flushPacket, lineOf, PacketReader, packet, sideband } from './pkt-line.ts'
import type { PushHead } from './push-head.ts'
import { type RefUpdate, reportLine, type Verdict } from './ref-update.ts'

const maxReport = 4 * 1_048_576

/**
 * The answer to a push: git's own packets, with the gateway's lines for the person between them, and at the end one report. What the
 * gateway decides replaces git's report, so that its reasons stand in git's own lines.
 */
export class PushReply {
  readonly #response: ServerResponse
  readonly #updates: RefUpdate[]
  readonly #hasSideband: boolean
  readonly #hasReport: boolean
  #reportOfGit: Buffer[] = []
  #gitIsDone = false
  #verdicts: Verdict[] | null = null

  constructor(response: ServerResponse, { capabilities, updates }: PushHead) {
    this.#response = response
    this.#updates = updates
    this.#hasSideband = capabilities.has('side-band-64k')
    this.#hasReport = capabilities.has('report-status') || capabilities.has('report-status-v2')
    response.writeHead(200, {
      'content-type': 'application/x-git-receive-pack-result',
      'cache-control': 'no-cache, max-age=0, must-revalidate',
    })
  }

  /** Lines for the person, shown by git behind `remote:`. Resolves when the client can take more. */
  async say(lines: string[]): Promise<void> {
    if (!this.#hasSideband || lines.length === 0) return
    await this.#write(sideband(2, Buffer.from(lines.map((line) => `${cleanLine(line)}\n`).join(''))))
  }

  /** Passes on what git writes until it ends: text at once, its report at the end. */
  async relay(output: Readable): Promise<void> {
    if (!this.#hasSideband) return this.#collect(output)
    const packets = new PacketReader()
    for await (const chunk of output) {
      packets.push(chunk)
      for (let next = packets.next(); next !== null; next = packets.next()) await this.#relayPacket(next)
    }
  }

  /** The gateway's verdict on every ref, instead of what git will report. */
  refuse(verdicts: Verdict[]): void {
    this.#verdicts = verdicts
  }

  /** True when git said to the end what became of the push. */
  get isReported(): boolean {
    return this.#gitIsDone || this.#verdicts !== null
  }

  /** Ends the answer, once. */
  async end(): Promise<void> {
    if (this.#response.writableEnded) return
    const report = this.#verdicts ? formatReport(this.#verdicts) : Buffer.concat(this.#reportOfGit)
    if (this.#hasReport && report.length > 0) await this.#write(this.#hasSideband ? sideband(1, report) : report)
    this.#response.end(this.#hasSideband ? flushPacket : undefined)
  }

  async #relayPacket(next: Buffer | string): Promise<void> {
    if (next === 'flush') this.#gitIsDone = true
    if (typeof next === 'string') return
    // Refused already: what git says of the input that was cut off would stand beside the reason as if it were another.
    if (this.#verdicts && next[0] === 2) return
    if (next[0] !== 1) return this.#write(packet(next[0] === 2 ? withoutControls(next) : next))
    // An empty one keeps the connection alive.
    if (next.length === 1) return this.#write(packet(next))
    this.#keepReport(next.subarray(1))
    this.#refuseShallow()
  }

  async #collect(output: Readable): Promise<void> {
    for await (const chunk of output) this.#keepReport(chunk)
    this.#gitIsDone = true
  }

  #keepReport(bytes: Buffer): void {
    const size = this.#reportOfGit.reduce((sum, part) => sum + part.length, 0)
    if (size + bytes.length <= maxReport) this.#reportOfGit.push(bytes)
  }

  // git refuses before it calls any hook, in words that help only who knows them.
  #refuseShallow(): void {
    const refused = readRefused(Buffer.concat(this.#reportOfGit))
    if (!refused.some(({ reason }) => reason === 'shallow update not allowed')) return
    this.#verdicts = this.#updates.map(({ ref }) => ({
      ref,
      ok: false,
      reason: 'this clone is shallow, part of its history is missing; fetch it and push again: git fetch --unshallow',
    }))
  }

  async #write(bytes: Buffer): Promise<void> {
    const response = this.#response
    if (response.destroyed || response.writableEnded || bytes.length === 0 || response.write(bytes)) return
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off('drain', done)
        response.off('close', done)
        resolve()
      }
      response.on('drain', done)
      response.on('close', done)
    })
  }
}

// git's report-status: `unpack ok`, then a line for each ref.
function formatReport(verdicts: Verdict[]): Buffer {
  const lines = verdicts.map((verdict) => packet(`${reportLine(verdict)}\n`))
  return Buffer.concat([packet('unpack ok\n'), ...lines, flushPacket])
}

function readRefused(report: Buffer): { ref: string; reason: string }[] {
  const packets = new PacketReader()
  packets.push(report)
  const refused: { ref: string; reason: string }[] = []
  for (let next = packets.next(); Buffer.isBuffer(next); next = packets.next()) {
    const [, ref, reason] = /^ng (\S+) (.*)$/.exec(lineOf(next)) ?? []
    if (ref && reason) refused.push({ ref, reason })
  }
  return refused
}

// Text of git may quote names out of the pushed objects; only what moves a progress line may steer the terminal.
function withoutControls(payload: Buffer): Buffer {
  const clean = Buffer.from(payload)
  for (let index = 1; index < clean.length; index++) {
    const byte = clean[index] ?? 0
    const isPlain = byte >= 0x20 && byte !== 0x7f
    if (!isPlain && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) clean[index] = 0x3f
  }
  return clean
}
