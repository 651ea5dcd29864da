import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import type { Metafile, OnResolveArgs, PartialMessage, Plugin, PluginBuild } from 'esbuild'

export type StripSettings = {
  side: 'server' | 'client'
  /** Packages that are for the server alone, besides `server-only` and Node's own modules. */
  server: string[]
  /** Those for browsers alone, besides `client-only`. */
  client: string[]
}

type Refused = { specifier: string; importer: string }

const askedHere = Symbol('asked here')
const nodeModules = new Set(builtinModules)

/**
 * Keeps what is for the other side out of a bundle. Whoever imports it is named, and the way there from the entry: `src/client.ts → src/db.ts →
 * server-only`. The mark of the own side (`server-only` on the server) is nothing.
 */
export function importStrip({ side, server, client }: StripSettings): Plugin {
  const marks = { server: ['server-only', ...server], client: ['client-only', ...client] }
  const refused = new Set(side === 'client' ? marks.server : marks.client)
  const ownMark = side === 'client' ? 'client-only' : 'server-only'
  return {
    name: 'import_strip',
    setup(build) {
      const found: Refused[] = []
      const isEntry = (args: OnResolveArgs) => args.kind === 'entry-point'
      build.initialOptions.metafile = true
      build.onResolve({ filter: exactly([ownMark]) }, (args) => (isEntry(args) ? undefined : nothing(args)))
      build.onResolve({ filter: exactly([...refused]) }, (args) => {
        if (isEntry(args)) return undefined
        found.push({ specifier: args.path, importer: args.importer })
        return nothing(args)
      })
      if (side === 'client')
        build.onResolve({ filter: /^(node:.+|[a-z0-9_]+(\/[a-z_]+)?)$/ }, (args) => refuseNode(args, { build, found }))
      build.onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: 'module.exports = {}', loader: 'js' }))
      build.onEnd(({ metafile, errors }) => {
        if (found.length === 0) return undefined
        const inputs = metafile?.inputs ?? {}
        const from = build.initialOptions.absWorkingDir ?? process.cwd()
        if (errors.length > 0) return undefined
        return { errors: dedupe(found).map((one) => messageOf(one, { inputs, side, from })) }
      })
    },
  }
}

// A package of that name, or the package's own word that browsers have nothing there, is what esbuild takes.
async function refuseNode(args: OnResolveArgs, { build, found }: { build: PluginBuild; found: Refused[] }) {
  const { path, importer, namespace, resolveDir, kind, pluginData } = args
  if (pluginData === askedHere || kind === 'entry-point' || !nodeModules.has(path.replace(/^node:/, '')))
    return undefined
  const resolved = await build.resolve(path, { importer, namespace, resolveDir, kind, pluginData: askedHere })
  if (resolved.errors.length === 0 && !resolved.external) return undefined
  found.push({ specifier: path, importer })
  return nothing(args)
}

function nothing({ path }: OnResolveArgs) {
  return { path, namespace: 'nothing' }
}

function exactly(names: string[]): RegExp {
  return new RegExp(`^(?:${names.map((name) => name.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')).join('|')})(?:/.*)?$`)
}

function dedupe(found: Refused[]): Refused[] {
  return [...new Map(found.map((one) => [`${one.importer} ${one.specifier}`, one])).values()]
}

type Chains = { inputs: Metafile['inputs']; side: StripSettings['side']; from: string }

function messageOf({ specifier, importer }: Refused, { inputs, side, from }: Chains): PartialMessage {
  const name = Object.keys(inputs).find((path) => join(from, path) === importer) ?? importer
  const chain = [...chainTo(name, inputs), specifier].join(' → ')
  const where =
    side === 'client'
      ? 'is for the server and cannot be in what browsers load'
      : 'is for browsers and cannot be in the server'
  return { text: `${specifier} ${where}: ${chain}`, location: locationOf(specifier, importer, name) }
}

// The shortest way to a module from one that nobody imports.
function chainTo(module: string, inputs: Metafile['inputs']): string[] {
  const importers = new Map<string, string[]>()
  for (const [path, { imports }] of Object.entries(inputs))
    for (const { path: imported } of imports) importers.set(imported, [...(importers.get(imported) ?? []), path])
  const seen = new Set([module])
  const ways = [[module]]
  for (const way of ways) {
    const above = importers.get(way[0] ?? '') ?? []
    if (above.length === 0) return way.filter((path) => !path.startsWith('barrel:'))
    for (const path of above) if (!seen.has(path)) ways.push([path, ...way])
    for (const path of above) seen.add(path)
  }
  return [module]
}

function locationOf(specifier: string, importer: string, name: string): PartialMessage['location'] {
  const lines = readFileSync(importer, 'utf8').split('\n')
  const quoted = new RegExp(`(["'])${specifier.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')}\\1`)
  const at = lines.findIndex((line) => quoted.test(line))
  const lineText = lines[at] ?? ''
  return at === -1
    ? { file: name }
    : { file: name, line: at + 1, column: lineText.search(quoted), length: specifier.length + 2, lineText }
}
