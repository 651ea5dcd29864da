import { type FSWatcher, watch } from 'node:fs'
import { note } from '../output.ts'

export type FolderWatchDeps = {
  /** Paths in the folder that may have changed, in one burst of saves. */
  onChange: (names: string[]) => void
}

// An editor writes a file in several steps, and a formatter or a branch switch many files.
const quietMs = 40
const longestBurstMs = 500
const leftOut = /(^|[/\\])(node_modules|\.git|\.DS_Store)([/\\]|$)|~$|\.sw[px]$|^4913$/

/** Hears of changes in a folder and all below it, but for what nobody edits. */
export class FolderWatch {
  readonly #watcher: FSWatcher
  readonly #deps: FolderWatchDeps
  #names = new Set<string>()
  #since: number | null = null
  #timer: NodeJS.Timeout | null = null

  static start(folder: string, deps: FolderWatchDeps): FolderWatch {
    const ignore = (name: string) => leftOut.test(name)
    return new FolderWatch(watch(folder, { recursive: true, ignore }), deps)
  }

  private constructor(watcher: FSWatcher, deps: FolderWatchDeps) {
    this.#watcher = watcher
    this.#deps = deps
    watcher.on('change', (_, name) => this.#hear(String(name)))
    watcher.on('error', (error) =>
      note(`atelier: changes cannot be watched any more (${error.message}); start it again`),
    )
  }

  close(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#watcher.close()
  }

  #hear(name: string): void {
    if (leftOut.test(name)) return
    this.#names.add(name)
    this.#since ??= performance.now()
    const left = this.#since + longestBurstMs - performance.now()
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#tell(), Math.max(0, Math.min(quietMs, left)))
  }

  #tell(): void {
    const names = [...this.#names]
    this.#names = new Set()
    this.#since = null
    this.#timer = null
    this.#deps.onChange(names)
  }
}
