import { printable } from '../printable.ts'
import type { LogLine } from './log-line.ts'

const patienceMs = 400
const burst = 10
const refillMs = 2000

/** What the person at the terminal is told. The ready block goes to stdout, everything else to stderr. */
export class Terminal {
  readonly #gates = new Map<string, Gate>()
  #isReady = false

  constructor() {
    // Whoever read along has gone (`atelier up | head`); the platform goes on, and its log files have it all.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => stream.destroy())
  }

  /** The ready block. */
  welcome(text: string): void {
    this.#isReady = true
    process.stdout.write(text)
  }

  say(sentence: string): void {
    process.stderr.write(`${sentence.split('\n').map(printable).join('\n')}\n`)
  }

  /** Says what is going on when it takes longer than a moment. */
  async during<T>(what: string, work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.say(`  ${what}`), patienceMs)
    try {
      return await work
    } finally {
      clearTimeout(timer)
    }
  }

  /** A role's warning or error; a role that floods is counted instead, and its log file has every line. */
  roleLine(role: string, line: LogLine, logFile: string): void {
    // While it starts, roles wait for one another and warn of that; only what fails matters then.
    if (!this.#isReady && line.level === 'warn') return
    const gate = this.#gates.get(role) ?? new Gate()
    this.#gates.set(role, gate)
    const held = gate.pass()
    if (held === null) return
    if (held > 0) this.say(`  … ${held} more lines in ${logFile}`)
    this.say(`${clock()} ${role.padEnd(8)} ${line.level.padEnd(5)} ${line.text}`)
  }

  notice(sentence: string): void {
    this.say(`${clock()} ${sentence}`)
  }
}

/** Lets a few lines through at once, then one every two seconds; counts the others. */
class Gate {
  #tokens = burst
  #filledAt = performance.now()
  #held = 0

  /** How many were held back before this one; null: this one is held back too. */
  pass(): number | null {
    const now = performance.now()
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#filledAt) / refillMs)
    this.#filledAt = now
    if (this.#tokens < 1) {
      this.#held += 1
      return null
    }
    this.#tokens -= 1
    const held = this.#held
    this.#held = 0
    return held
  }
}

function clock(): string {
  return new Date().toTimeString().slice(0, 8)
}
