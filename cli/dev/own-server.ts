import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { Failure } from '../failure.ts'
import { note, paint } from '../output.ts'
import { readPackage } from './app-name.ts'

/** A script of package.json that runs the dev server of a framework: `next dev`, `vite`. */
export type OwnServer = { script: string; framework: string }

// They keep what is on the page over a save, which no build does; who uses them expects them.
const servers: [framework: string, command: RegExp][] = [
  ['Next.js', /\bnext\s+dev\b/],
  ['Nuxt', /\bnux(t|i)\s+dev\b/],
  ['Astro', /\bastro\s+dev\b/],
  ['SvelteKit', /\bsvelte-kit\s+dev\b/],
  ['React Router', /\breact-router\s+dev\b/],
  ['Remix', /\bremix\s+(vite:)?dev\b/],
  ['Angular', /\bng\s+(serve|dev)\b/],
  ['Gatsby', /\bgatsby\s+develop\b/],
  ['Docusaurus', /\bdocusaurus\s+start\b/],
  ['VitePress', /\bvitepress\s+dev\b/],
  ['Eleventy', /\b(eleventy|@11ty\/eleventy)\b.*--serve\b/],
  ['React Scripts', /\breact-scripts\s+start\b/],
  ['Vite', /\bvite(\s+dev|\s+serve|\s*$|\s+-|\s*&&)/],
]

/** Null: the app has none, and is built as Atelier builds it. */
export async function findOwnServer(folder: string): Promise<OwnServer | null> {
  const { scripts } = (await readPackage(folder)) ?? {}
  if (typeof scripts !== 'object' || scripts === null) return null
  for (const script of ['dev', 'develop', 'start', 'serve']) {
    const command: unknown = Reflect.get(scripts, script)
    const found = typeof command === 'string' ? servers.find(([, pattern]) => pattern.test(command)) : undefined
    if (found) return { script, framework: found[0] }
  }
  return null
}

/** Runs it in this terminal, with the app's variables, until it ends. Throws a Failure with its exit code. */
export async function runOwnServer(
  { script, framework }: OwnServer,
  { folder, variables, port }: { folder: string; variables: Record<string, string>; port: number | null },
): Promise<void> {
  const manager = managerOf(folder)
  if (!existsSync(join(folder, 'node_modules')))
    throw new Failure(`nothing is installed in ${folder} yet; run: ${manager} install`, { code: 'NOT_INSTALLED' })
  const more = port === null ? [] : ['--port', String(port)]
  const args = ['run', script, ...(more.length > 0 && manager === 'npm' ? ['--'] : []), ...more]
  note(`${framework} has a dev server of its own: ${manager} ${args.join(' ')}`)
  note(paint('dim', 'as Atelier will serve it: atelier dev --build', process.stderr))
  const env = { ...process.env, ...variables, ...(port !== null && { PORT: String(port) }) }
  const child = spawn(manager, args, { cwd: folder, env, stdio: 'inherit' })
  // The terminal tells it of Ctrl-C by itself.
  const pass = (signal: NodeJS.Signals) => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal))
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => pass(name))
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Failure(`${manager} does not start: ${error.message}`, { code: 'DEV_SERVER' })),
    )
    child.once('exit', (exit, signal) => resolve(exit ?? 128 + (signal ? constants.signals[signal] : 0)))
  })
  if (code !== 0 && code !== 130 && code !== 143)
    throw new Failure(`${manager} run ${script} ended with ${code}`, {
      exitCode: code,
      code: 'DEV_SERVER',
      isTold: true,
    })
}

function managerOf(folder: string): 'npm' | 'pnpm' | 'yarn' {
  if (existsSync(join(folder, 'pnpm-lock.yaml'))) return 'pnpm'
  return existsSync(join(folder, 'yarn.lock')) ? 'yarn' : 'npm'
}
