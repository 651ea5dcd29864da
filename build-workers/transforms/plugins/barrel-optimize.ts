import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { OnResolveArgs, OnResolveResult, Plugin, PluginBuild } from 'esbuild'
import { type Barrel, ownExports, readBarrel } from './barrel-exports.ts'
import { importedNames } from './imported-names.ts'

export type BarrelSettings = {
  /** Looked at: those that say `sideEffects: false`. */
  packages: string[]
  /** Those of whom the config says it. */
  listed: string[]
}

/** One name of a barrel: what to import it from, in its place, and as what. */
type Place = { file: string; imported: string }

const askedHere = Symbol('asked here')

/**
 * Has an import from a barrel (`import { Camera } from 'lucide-react'`) load the modules used and none of the others: in the barrel's place, each
 * module that imports from it gets one that hands on those names alone. The app's own text stays as it is, and so do source maps. Whatever is not
 * understood is left to esbuild: CommonJS, namespaces, names that are not found.
 */
export function barrelOptimize({ packages, listed }: BarrelSettings): Plugin {
  const all = [...new Set([...packages, ...listed])]
  const filter = new RegExp(
    `^(?:${all.map((name) => name.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')).join('|')})(?:/.*)?$`,
  )
  return {
    name: 'barrel_optimize',
    setup(build) {
      if (all.length === 0) return
      const modules = new Modules()
      build.onResolve({ filter, namespace: 'file' }, (args) => replace(args, { build, modules, listed }))
      build.onLoad({ filter: /.*/, namespace: 'barrel' }, ({ pluginData }) => ({
        ...{ contents: pluginData.contents, resolveDir: pluginData.resolveDir, loader: 'js' },
      }))
    },
  }
}

type Deps = { build: PluginBuild; modules: Modules; listed: string[] }

async function replace(args: OnResolveArgs, { build, modules, listed }: Deps): Promise<OnResolveResult | undefined> {
  const { path, importer, namespace, resolveDir, kind, pluginData } = args
  if (pluginData === askedHere || kind !== 'import-statement') return undefined
  const names = importedNames(modules.text(importer) ?? '', path)
  if (!names) return undefined
  const barrel = await build.resolve(path, { importer, namespace, resolveDir, kind, pluginData: askedHere })
  const isFree = !barrel.sideEffects || listed.some((name) => path === name || path.startsWith(`${name}/`))
  if (barrel.errors.length > 0 || barrel.external || barrel.namespace !== 'file' || !isFree) return undefined
  if (!modules.barrel(barrel.path)) return undefined

  // In TypeScript a name that is imported may be a type, which esbuild leaves out, too.
  const mayBeType = /\.[cm]?tsx?$/.test(importer)
  const lines: string[] = []
  for (const name of [...names].sort()) {
    const place = modules.find(barrel.path, name)
    if (!place && (!mayBeType || modules.mayHave(barrel.path, name))) return undefined
    if (place) lines.push(exportLine(name, place))
  }
  return {
    path: `${barrel.path}?${[...names].sort().join(',')}`,
    namespace: 'barrel',
    sideEffects: false,
    pluginData: { contents: ['export {}', ...lines].join('\n'), resolveDir: dirname(barrel.path) },
  }
}

function exportLine(name: string, { file, imported }: Place): string {
  const what = imported === '*' ? `* as ${name}` : `{ ${imported} as ${name} }`
  return `export ${what} from ${JSON.stringify(file)}`
}

const endings = ['', '.js', '.mjs', '.ts', '.tsx', '.jsx', '/index.js', '/index.mjs', '/index.ts', '/index.tsx']

/** Modules that were read, each once. */
class Modules {
  readonly #texts = new Map<string, string | null>()
  readonly #barrels = new Map<string, Barrel | null>()
  readonly #exports = new Map<string, Set<string>>()

  text(file: string): string | null {
    const known = this.#texts.get(file)
    if (known !== undefined) return known
    const text = isFile(file) ? readFileSync(file, 'utf8') : null
    this.#texts.set(file, text)
    return text
  }

  barrel(file: string): Barrel | null {
    const known = this.#barrels.get(file)
    if (known !== undefined) return known
    const barrel = readBarrel(this.text(file) ?? '')
    this.#barrels.set(file, barrel)
    return barrel
  }

  /** Where a name comes from; null: not known. What has code of its own is its own place. */
  find(file: string, name: string, above: string[] = []): Place | null {
    if (above.includes(file)) return null
    const barrel = this.barrel(file)
    if (!barrel) return this.#ownExports(file).has(name) ? { file, imported: name } : null
    const source = barrel.named.get(name)
    if (source)
      return source.from.startsWith('.') ? placeOf(file, source.from, source.imported) : { file, imported: name }
    if (name === 'default') return null
    // `export * from './addDays.js'` is most often of what its name says.
    const stars = barrel.stars.filter((star) => star.startsWith('.'))
    const likely = stars.filter((star) => basenameOf(star) === name)
    for (const star of [...likely, ...stars]) {
      const target = this.#fileAt(join(dirname(file), star))
      const found = target && this.find(target, name, [...above, file])
      if (found) return found
    }
    return null
  }

  /** Whether a name that was not found may be there all the same; where not, it is at most a type. */
  mayHave(file: string, name: string, above: string[] = []): boolean {
    if (name === 'default') return true
    if (above.includes(file)) return false
    const barrel = this.barrel(file)
    if (!barrel) {
      const text = this.text(file) ?? ''
      return /\bexport\s*\*|\bexports\b/.test(text) || (text.includes(name) && text.split(/[^\w$]+/).includes(name))
    }
    return barrel.stars.some((star) => {
      const target = star.startsWith('.') ? this.#fileAt(join(dirname(file), star)) : null
      return target === null || this.mayHave(target, name, [...above, file])
    })
  }

  #ownExports(file: string): Set<string> {
    const known = this.#exports.get(file) ?? ownExports(this.text(file) ?? '')
    this.#exports.set(file, known)
    return known
  }

  #fileAt(path: string): string | null {
    return endings.map((ending) => path + ending).find(isFile) ?? null
  }
}

function placeOf(barrel: string, from: string, imported: string): Place {
  return { file: join(dirname(barrel), from), imported }
}

function basenameOf(path: string): string {
  const [name = ''] = path
    .replace(/\/index(\.\w+)?$/, '')
    .split('/')
    .slice(-1)
  return name.replace(/\.[cm]?[jt]sx?$/, '')
}

function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile()
}
