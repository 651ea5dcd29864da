import { dependsOn } from './package-json.ts'
import type { App, Plan } from './plan.ts'
import { firstFile } from './source-tree.ts'
import { normalise, readStartCommand, type StartCommand, servesFiles } from './start-command.ts'

const configs = ['ts', 'mts', 'js', 'mjs', 'cjs'].map((extension) => `next.config.${extension}`)
const routers = ['app', 'src/app', 'pages', 'src/pages']

/** A Next.js app, with the server of its own that `next build` makes of it, or as static pages (`output: 'export'`). */
export function detectNext(app: App, { isChosen = false } = {}): Plan | null {
  const { tree, pkg, config } = app
  if (!isChosen && (!dependsOn(pkg, 'next') || config.build.entry)) return null
  const evidence = firstFile(tree, configs) ?? routers.find((folder) => tree.hasDirectory(folder))
  const start = readStartCommand(tree, pkg)
  if (!isChosen && (!evidence || (start && !startsNext(start)))) return null
  return {
    framework: 'next',
    reason: `Next.js detected (next in package.json, ${evidence})`,
    notes: start && doesMore(start) ? [`not run of the start command: all but Next.js (${start.source})`] : [],
    transform: 'next',
    dist: distFolder(app),
    asProcess: config.build.kind === 'process',
  }
}

// A server of its own that loads Next.js is a Node server with a build step.
function startsNext(start: StartCommand): boolean {
  if (start.file !== null) return isStandalone(start.file)
  return !start.isFromProcfile || servesFiles(start)
}

function isStandalone(file: string): boolean {
  return /(^|\/)standalone\/(.*\/)?server\.js$/.test(normalise(file))
}

// `prisma migrate deploy && next start`
function doesMore({ command }: StartCommand): boolean {
  return /&&|;|\|/.test(command)
}

/** Where it is built, as far as the config says so in plain text; what the build has left is believed in the end. */
function distFolder({ tree }: App): string {
  const config = firstFile(tree, configs)
  const code = config ? (tree.read(config) ?? '').replace(/^\s*\/\/.*$/gm, '') : ''
  const written = normalise(/\bdistDir\s*:\s*['"`]([^'"`$]+)['"`]/.exec(code)?.[1] ?? '')
  return written && !written.split('/').includes('..') ? written : '.next'
}
