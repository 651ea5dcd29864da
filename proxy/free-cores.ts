import { cpus } from 'node:os'

/** How many of the machine's cores had nothing to do between the last two looks. */
export class FreeCores {
  #last = readTimes()
  #free = 0

  get count(): number {
    return this.#free
  }

  look(): void {
    const now = readTimes()
    const all = now.all - this.#last.all
    this.#free = all > 0 ? ((now.idle - this.#last.idle) / all) * now.cores : 0
    this.#last = now
  }
}

function readTimes(): { all: number; idle: number; cores: number } {
  const cores = cpus()
  const all = cores.reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.idle + times.irq, 0)
  return { all, idle: cores.reduce((sum, { times }) => sum + times.idle, 0), cores: cores.length }
}
