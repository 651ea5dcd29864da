import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseDotenv } from '../dotenv.ts'

/** In the order in which they are read; what a later one says goes before. */
export const variableFiles = ['.env', '.env.development', '.env.local', '.env.development.local']

/** The variables of the app at home. */
export class VariableFiles {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Without those that only the platform sets. Throws a Failure that names file and line. */
  async read(): Promise<Record<string, string>> {
    const all: Record<string, string> = {}
    for (const name of variableFiles) {
      const text = await readFile(join(this.#folder, name), 'utf8').catch(nothingIfMissing)
      Object.assign(all, parseDotenv(text, { path: name }))
    }
    return Object.fromEntries(Object.entries(all).filter(([name]) => name !== 'PORT' && !name.startsWith('ATELIER_')))
  }
}

function nothingIfMissing(thrown: NodeJS.ErrnoException): string {
  if (thrown.code === 'ENOENT' || thrown.code === 'EISDIR') return ''
  throw thrown
}
