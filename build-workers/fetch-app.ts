import { definesFetch, entryStyle } from './entry-style.ts'
import { dependsOn } from './package-json.ts'
import type { App, Plan } from './plan.ts'
import { normalise } from './start-command.ts'

const frameworks: [name: string, title: string][] = [
  ['hono', 'Hono'],
  ['itty-router', 'itty-router'],
  ['elysia', 'Elysia'],
]

const names = [
  'src/index',
  'src/main',
  'src/app',
  'src/server',
  'src/worker',
  'index',
  'main',
  'app',
  'server',
  'worker',
]
const extensions = ['ts', 'tsx', 'mts', 'js', 'jsx', 'mjs']

/** An app whose entry has a default export with `fetch`: Hono and friends, or a bare one. */
export function detectFetchApp({ tree, pkg, config }: App): Plan | null {
  const framework = frameworks.find(([name]) => dependsOn(pkg, name))
  for (const entry of candidates()) {
    const text = tree.read(entry)
    if (text === null || entryStyle(text) !== 'fetch') continue
    // Without a framework or a config that says so, a default export alone is any module, perhaps one for a page.
    if (!framework && !config.build.entry && !definesFetch(text)) continue
    const found = config.build.entry ? `build.entry: ${entry}` : entry
    return {
      framework: framework?.[0] ?? 'fetch',
      reason: framework
        ? `${framework[1]} detected (${framework[0]} in package.json, ${found})`
        : `fetch app detected (default export ${config.build.entry ? '' : 'with fetch '}in ${entry})`,
      notes: pkg?.scripts['build']
        ? ['the build script is not run for a bundled app; if it is needed, set build.script: "npm run build"']
        : [],
      transform: 'bundle',
      entry,
    }
  }
  return null

  function candidates(): string[] {
    if (config.build.entry) return [config.build.entry]
    const named = [pkg?.main, pkg?.module].filter((path) => path !== undefined).map(normalise)
    return [...named, ...names.flatMap((name) => extensions.map((extension) => `${name}.${extension}`))]
  }
}
