import { createHash } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Client } from '../client.ts'
import { Failure } from '../failure.ts'
import { paint, print } from '../output.ts'
import { listFolder, packFiles } from '../source.ts'
import type { DevFront } from './dev-front.ts'
import { type VariableFiles, variableFiles } from './variable-files.ts'

export type DevBuildsDeps = {
  app: string
  folder: string
  files: VariableFiles
  front: DevFront
  /** Of this command; for the first build. */
  startedAt: number
}

type Outcome = { isLive: boolean; lines: string[] }

// What a save during a longer build makes of it nobody wants to see.
const cancelAfterMs = 2000
const mostLines = 60

/** Builds the folder after every save, one build at a time, and says what came of it; what is live stays until the next one is. */
export class DevBuilds {
  readonly #client: Client
  readonly #deps: DevBuildsDeps
  readonly #closing = new AbortController()
  /** Paths of saves that no build has. */
  #waiting: Set<string> | null = null
  #savedAt = 0
  #isBuilding = false
  #buildBegan = 0
  #deployment: string | null = null
  #wasCancelled = false
  #built = ''
  #variables: Record<string, string> | null = null
  #isFirst = true

  /** Makes the app when it is not there yet. */
  static async open(client: Client, deps: DevBuildsDeps): Promise<DevBuilds> {
    const params = { app: deps.app }
    const app = await client.call('GET apps/{app}', { params }).catch((thrown: unknown) => {
      if (!(thrown instanceof Failure) || thrown.code !== 'APP_NOT_FOUND') throw thrown
      return client.call('POST apps', { json: { name: deps.app } })
    })
    deps.front.leadTo(app.url)
    return new DevBuilds(client, deps)
  }

  private constructor(client: Client, deps: DevBuildsDeps) {
    this.#client = client
    this.#deps = deps
  }

  /** These may have changed; whether they have is looked at. */
  changed(names: string[]): void {
    if (!this.#waiting) this.#savedAt = performance.now()
    this.#waiting = new Set([...(this.#waiting ?? []), ...names])
    if (!this.#isBuilding) void this.#buildAll()
    else if (performance.now() - this.#buildBegan > cancelAfterMs) void this.#cancel()
  }

  close(): void {
    this.#closing.abort()
  }

  async #buildAll(): Promise<void> {
    this.#isBuilding = true
    while (this.#waiting && !this.#closing.signal.aborted) {
      const names = [...this.#waiting]
      const savedAt = this.#savedAt
      this.#waiting = null
      this.#buildBegan = performance.now()
      try {
        await this.#build(names, savedAt)
      } catch (thrown) {
        if (this.#closing.signal.aborted) break
        if (!(thrown instanceof Failure)) throw thrown
        this.#failed(names, [thrown.message])
      }
    }
    this.#isBuilding = false
  }

  async #build(names: string[], savedAt: number): Promise<void> {
    const { folder, front, startedAt } = this.#deps
    const paths = await listFolder(folder)
    const hasNewVariables = await this.#bringVariables(names)
    const built = await signatureOf(folder, paths)
    // A build wrote what is not sent, a program read, an editor saved what was there before.
    if (built === this.#built && !hasNewVariables) return
    this.#built = built
    const outcome = await this.#deploy(paths)
    const wasCancelled = this.#wasCancelled
    this.#wasCancelled = false
    if (wasCancelled && !outcome.isLive) {
      this.#built = ''
      return
    }
    if (!outcome.isLive) return this.#failed(names, outcome.lines)
    const tookMs = performance.now() - (this.#isFirst ? startedAt : savedAt)
    front.show({ isNew: true, problem: null })
    print(`${clock()}  ${paint('green', 'live')} in ${(tookMs / 1000).toFixed(2)} s${paint('dim', whatOf(names))}`)
    this.#isFirst = false
  }

  // True: the app has others than it had.
  async #bringVariables(names: string[]): Promise<boolean> {
    if (this.#variables && !names.some((name) => variableFiles.includes(name))) return false
    const params = { app: this.#deps.app }
    const values = await this.#deps.files.read()
    const before = this.#variables
    if (JSON.stringify(values) === JSON.stringify(before)) return false
    const { variables } = await this.#client.call('GET apps/{app}/env', { params })
    const gone = variables.map(({ name }) => name).filter((name) => !(name in values))
    if (gone.length > 0) await this.#client.call('DELETE apps/{app}/env', { params, query: { names: gone.join(',') } })
    if (Object.keys(values).length > 0)
      await this.#client.call('PUT apps/{app}/env', { params, json: { values, runtime_only: false } })
    this.#variables = values
    return true
  }

  async #deploy(paths: string[]): Promise<Outcome> {
    const { app, folder } = this.#deps
    const lines: string[] = []
    const body = await packFiles(folder, paths)
    const version = `0.0.0-${Date.now().toString(36)}`
    const events = this.#client.stream('POST deploy', {
      query: { app, version, canary: 'skip', unlock: true },
      stream: { body, type: 'application/gzip' },
      signal: this.#closing.signal,
    })
    try {
      for await (const event of events) {
        if (event.type === 'start') this.#deployment = event.deployment.id
        if (event.type === 'log') {
          lines.push(event.text)
          // The first time there is something to wait for.
          if (this.#isFirst) print(paint('dim', event.text))
        }
        if (event.type === 'end' && event.ok) return { isLive: true, lines }
        if (event.type === 'end') return { isLive: false, lines: problemOf(lines, event.error?.message ?? '') }
      }
    } finally {
      this.#deployment = null
    }
    return { isLive: false, lines: ['the platform beneath ended the connection; save again'] }
  }

  // It may be too far already: then it goes live, and the next one after it.
  async #cancel(): Promise<void> {
    const id = this.#deployment
    if (!id || this.#wasCancelled) return
    // Before it is asked for: the build's own end may come first.
    this.#wasCancelled = true
    try {
      await this.#client.call('POST deployments/{id}/cancel', { params: { id } })
    } catch (thrown) {
      this.#wasCancelled = false
      if (!(thrown instanceof Failure)) throw thrown
    }
  }

  #failed(names: string[], lines: string[]): void {
    const { front } = this.#deps
    const next = front.hasShown ? 'what was there before is still served' : 'save again when it is mended'
    front.show({ isNew: false, problem: lines.join('\n') })
    print(`${clock()}  ${paint('red', 'not built')}; ${next}${paint('dim', whatOf(names))}`)
    for (const line of lines) print(`          ${line}`)
    this.#built = ''
  }
}

// The steps that went well say nothing about the one that did not.
function problemOf(lines: string[], message: string): string[] {
  const lastStep = lines.findLastIndex((line) => line.startsWith('----->') && !line.startsWith('-----> Failed'))
  const said = lines
    .slice(lastStep + 1)
    .filter((line) => !line.startsWith('----->'))
    .map((line) => line.replace(/^ {7}/, ''))
  return [message, ...said.filter((line) => line.trim() && line.trim() !== message).slice(-mostLines)].filter(Boolean)
}

/** Of what would be sent: name, size, time and mode of each. */
async function signatureOf(folder: string, paths: string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of paths.toSorted()) {
    const found = await lstat(join(folder, path)).catch(() => null)
    if (found) hash.update(`${path}\0${found.size}\0${found.mtimeMs}\0${found.mode}\0`)
  }
  return hash.digest('hex')
}

function whatOf(names: string[]): string {
  const [first] = names
  if (first === undefined) return ''
  return names.length === 1 ? ` · ${first}` : ` · ${first} and ${names.length - 1} more`
}

function clock(): string {
  return paint('dim', new Date().toTimeString().slice(0, 8))
}
