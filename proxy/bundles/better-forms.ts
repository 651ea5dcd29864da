import { dirname, join } from 'node:path'
import { type BetterForms, betterForms, type Encoded } from '../../registry/encodings.ts'
import { messageOf } from '../../registry/errors.ts'
import type { Log } from '../../registry/log.ts'
import type { ToEdge } from '../edge-messages.ts'
import type { LocalDeployments } from '../hosts/local-deployments.ts'
import { readIfThere } from './durable-file.ts'
import type { LocalBundles } from './local-bundles.ts'

/** Where a bundle's better forms are listed on this machine. */
export function betterFormsPath(manifestPath: string): string {
  return join(dirname(manifestPath), 'encodings.json')
}

/** The better forms of the bundle with this manifest; null: there are none here. A list that cannot be read is logged and as good as none. */
export async function readLocalForms(manifestPath: string, { log }: { log: Log }): Promise<BetterForms | null> {
  const path = betterFormsPath(manifestPath)
  try {
    const text = await readIfThere(path)
    return text && betterForms.parse(JSON.parse(text.toString('utf8')))
  } catch (thrown) {
    log.warn({ file: path, reason: messageOf(thrown) }, 'better forms not used')
    return null
  }
}

export type FormBringerDeps = {
  bundles: LocalBundles
  deployments: Pick<LocalDeployments, 'find'>
  tell: (message: ToEdge) => void
  log: Log
}

/** Brings the forms that files of live deployments have got since they were built, and tells the edges when they are here. */
export class FormBringer {
  readonly #deps: FormBringerDeps
  #brought = new Map<string, string>()
  #bringing: Promise<void> = Promise.resolve()

  constructor(deps: FormBringerDeps) {
    this.#deps = deps
  }

  /** Takes what the registry lists. Returns at once. */
  follow(list: Encoded[]): void {
    this.#bringing = this.#bringing.then(async () => {
      for (const encoded of list) if (this.#brought.get(encoded.id) !== encoded.sha256) await this.#bring(encoded)
      const listed = new Set(list.map(({ id }) => id))
      this.#brought = new Map([...this.#brought].filter(([id]) => listed.has(id)))
    })
  }

  async close(): Promise<void> {
    await this.#bringing
  }

  async #bring(encoded: Encoded): Promise<void> {
    const { bundles, deployments, tell, log } = this.#deps
    if (!deployments.find(encoded.id)?.loaded) return
    try {
      if (await bundles.bringBetterForms(encoded)) tell({ type: 'encoded', id: encoded.id })
      this.#brought.set(encoded.id, encoded.sha256)
    } catch (thrown) {
      log.warn({ app: encoded.appId, version: encoded.version, err: thrown }, 'better forms not brought')
    }
  }
}
