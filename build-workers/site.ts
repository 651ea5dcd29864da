import { dirname } from 'node:path'
import { dependsOn, type PackageJson } from './package-json.ts'
import type { App, BuildTool, Plan } from './plan.ts'
import { firstFile, type SourceTree } from './source-tree.ts'
import { normalise, readStartCommand, servesFiles } from './start-command.ts'

type SiteTool = {
  /** Its package. */
  tool: string
  name: string
  /** Default: its program is named as its package, and is told to build. */
  build?(app: App): BuildTool
  output: string
  isUsed(app: App): string | null
}

/** Frameworks on top of Vite and the like whose build may be a server or a site. */
export const serverKits = [
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
    tool: '@docusaurus/core',
    name: 'Docusaurus',
    output: 'build',
    isUsed: ({ tree }) => firstFile(tree, ['docusaurus.config.ts', 'docusaurus.config.js', 'docusaurus.config.mjs']),
  },
  {
    tool: 'vitepress',
    name: 'VitePress',
    output: '.vitepress/dist',
    build: ({ tree }) => ({
      scripts: ['build', 'docs:build'],
      program: 'vitepress',
      args: ['build', dirname(dirname(vitepressConfig(tree) ?? './.vitepress/config'))],
    }),
    isUsed: ({ tree }) => vitepressConfig(tree),
  },
  {
    tool: 'gatsby',
    name: 'Gatsby',
    output: 'public',
    isUsed: ({ tree }) => firstFile(tree, ['gatsby-config.ts', 'gatsby-config.js', 'gatsby-config.mjs']),
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
    build: () => ({ scripts: ['build'], program: 'eleventy', args: [] }),
    isUsed: ({ tree, pkg }) =>
      pkg?.scripts['build']
        ? 'build script'
        : firstFile(tree, [
            '.eleventy.js',
            ...['js', 'mjs', 'cjs', 'ts'].map((extension) => `eleventy.config.${extension}`),
            // Its documentation begins without a config.
            ...['html', 'md', 'njk', 'liquid', 'webc', 'hbs', 'ejs', 'pug', '11ty.js'].map(
              (extension) => `index.${extension}`,
            ),
          ]),
  },
]

/** Vite and its like: apps whose build leaves a folder of static files. */
export function detectSite(app: App): Plan | null {
  if (!app.pkg) return null
  for (const tool of tools) {
    const evidence = dependsOn(app.pkg, tool.tool) ? tool.isUsed(app) : null
    if (evidence && !servesItself(app)) return planSite(app, app.pkg, tool, evidence)
  }
  return null
}

/** The tool of that name, whatever the app looks like; null: it is the name of none, or there is no package.json. */
export function chooseSite(app: App, name: string): Plan | null {
  const tool = tools.find((known) => programOf(known.tool) === name)
  return tool && app.pkg ? planSite(app, app.pkg, tool, 'package.json') : null
}

function planSite(app: App, pkg: PackageJson, { tool, name, output, build }: SiteTool, evidence: string): Plan {
  return {
    framework: programOf(tool),
    reason: `${[name, library(pkg)].filter(Boolean).join(' + ')} detected (${tool} in package.json, ${evidence})`,
    notes: [],
    transform: 'site',
    tool,
    build: build?.(app) ?? { scripts: ['build'], program: programOf(tool), args: ['build'] },
    output: app.config.build.output ?? writtenOutput(tool, app.tree, pkg) ?? output,
  }
}

function programOf(tool: string): string {
  return tool.replace(/^@docusaurus\/core$/, 'docusaurus').replace(/^@.*\//, '')
}

function writtenOutput(tool: string, tree: SourceTree, pkg: PackageJson): string | null {
  if (tool === 'vite') return viteOutput(tree, pkg)
  const config = tool === 'vitepress' ? vitepressConfig(tree) : null
  return config ? `${dirname(config)}/dist` : null
}

// At the top, or in the folder of the pages.
function vitepressConfig(tree: SourceTree): string | null {
  const folders = ['', 'docs/', 'doc/', 'src/', 'website/']
  const extensions = ['ts', 'mts', 'js', 'mjs']
  return firstFile(
    tree,
    folders.flatMap((folder) => extensions.map((extension) => `${folder}.vitepress/config.${extension}`)),
  )
}

function findVite({ tree, pkg }: App): string | null {
  // SvelteKit and friends build with Vite too, but what they leave is theirs to say.
  if (serverKits.some((kit) => dependsOn(pkg, kit))) return null
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
