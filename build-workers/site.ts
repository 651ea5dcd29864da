import type { App, Plan } from './framework.ts'
import { dependsOn, type PackageJson } from './package-json.ts'
import { firstFile, type SourceTree } from './source-tree.ts'
import { normalise, readStartCommand, servesFiles } from './start-command.ts'

type SiteTool = {
  /** Its package, which is also the name of its program. */
  tool: string
  name: string
  output: string
  isUsed(app: App): string | null
}

/** Frameworks on top of Vite and the like whose build may be a server or a site, as an adapter decides. */
export const kits = [
  '@sveltejs/kit',
  '@react-router/dev',
  '@remix-run/dev',
  'nuxt',
  '@tanstack/react-start',
  '@solidjs/start',
]

const viteConfigs = ['ts', 'mts', 'js', 'mjs', 'cts', 'cjs'].map((extension) => `vite.config.${extension}`)

// Tools that write a folder of static files. What is listed first wins.
const tools: SiteTool[] = [
  {
    tool: 'astro',
    name: 'Astro',
    output: 'dist',
    isUsed: ({ tree }) => firstFile(tree, ['astro.config.mjs', 'astro.config.ts', 'astro.config.js']),
  },
  { tool: 'vite', name: 'Vite', output: 'dist', isUsed: findVite },
  {
    tool: 'react-scripts',
    name: 'Create React App',
    output: 'build',
    isUsed: ({ tree }) => firstFile(tree, ['public/index.html']),
  },
  {
    tool: '@11ty/eleventy',
    name: 'Eleventy',
    output: '_site',
    isUsed: ({ pkg }) => (pkg?.scripts['build'] ? 'build script' : null),
  },
]

/** Vite and its like: apps whose build leaves a folder of static files. */
export function detectSite(app: App): Plan | null {
  const { pkg, config } = app
  if (!pkg) return null
  for (const { tool, name, output, isUsed } of tools) {
    const evidence = dependsOn(pkg, tool) ? isUsed(app) : null
    if (!evidence || servesItself(app)) continue
    return {
      framework: tool.replace(/^@.*\//, ''),
      reason: `${[name, library(pkg)].filter(Boolean).join(' + ')} detected (${tool} in package.json, ${evidence})`,
      notes: [],
      transform: 'site',
      tool,
      output: config.build.output ?? (tool === 'vite' ? viteOutput(app.tree, pkg) : null) ?? output,
    }
  }
  return null
}

function findVite({ tree, pkg }: App): string | null {
  // SvelteKit and friends build with Vite too, but what they leave is theirs to say.
  if (kits.some((kit) => dependsOn(pkg, kit))) return null
  const config = firstFile(tree, viteConfigs)
  if (tree.hasFile('index.html')) return config ?? 'index.html'
  // Without an index.html, Vite may as well bundle a server or a library.
  return config && /\bvite\b.*\bbuild\b/.test(pkg?.scripts['build'] ?? '') && !pkg?.dependencies['hono'] ? config : null
}

// A server of its own (Express with Vite for its pages) is a Node server with a build step, not a folder of files.
function servesItself({ tree, pkg }: App): boolean {
  const start = readStartCommand(tree, pkg)
  if (!start || servesFiles(start)) return false
  return start.file !== null ? !/\b(vite|serve|http-server)(\.js)?$/.test(start.file) : start.isFromProcfile
}

function library(pkg: PackageJson): string | null {
  const known: [string, string][] = [
    ['react', 'React'],
    ['preact', 'Preact'],
    ['vue', 'Vue'],
    ['svelte', 'Svelte'],
    ['solid-js', 'Solid'],
    ['lit', 'Lit'],
  ]
  return known.find(([name]) => dependsOn(pkg, name))?.[1] ?? null
}

/** Vite's `build.outDir` where it is written as plain text in the config or the build script; null: Vite's default. */
function viteOutput(tree: SourceTree, pkg: PackageJson): string | null {
  const inScript = /--outDir[= ]+(\S+)/.exec(pkg.scripts['build'] ?? '')?.[1]
  const config = firstFile(tree, viteConfigs)
  const code = config ? (tree.read(config) ?? '').replace(/^\s*\/\/.*$/gm, '') : ''
  const written = inScript ?? /\boutDir\s*:\s*['"`]([^'"`$]+)['"`]/.exec(code)?.[1]
  const root = /^\s*root\s*:\s*['"`]([^'"`$]+)['"`]/m.exec(code)?.[1]
  const base = root ? normalise(root) : ''
  return written || base ? joinInside(base, written ?? 'dist') : null
}

// outDir is relative to Vite's root: root `client` with outDir `../dist` is `dist`.
function joinInside(base: string, path: string): string | null {
  const parts = base ? base.split('/') : []
  for (const part of normalise(path).split('/')) {
    if (part === '..' && parts.pop() === undefined) return null
    if (part !== '..' && part !== '.') parts.push(part)
  }
  return parts.join('/') || null
}
