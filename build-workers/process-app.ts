import { frameworkOf, nestEntry } from './node-server.ts'
import { dependsOn } from './package-json.ts'
import type { App, Plan } from './plan.ts'
import { readStartCommand, type StartCommand, servesFiles } from './start-command.ts'

/** A start command that is more than `node <file>`: it runs as it stands, as a process of its own. */
export function detectProcess(app: App): Plan | null {
  const { pkg, tree, config } = app
  if (config.build.entry) return null
  const start = readStartCommand(tree, pkg)
  if (!start?.needsProcess || dependsOn(pkg, 'next') || nestEntry(app) !== null) return null
  if (!start.isFromProcfile && servesFiles(start)) return null
  return planProcess(app, start, `runs as a process, for ${start.needsProcess}`)
}

/** The plan that runs a start command whatever it is. */
export function planProcess(app: App, { source, command }: StartCommand, note: string): Plan {
  const framework = frameworkOf(app.pkg)
  return {
    framework: framework?.name ?? 'process',
    reason: framework
      ? `${framework.title} detected (${framework.dependency} in package.json, ${source})`
      : `Start command detected (${source})`,
    notes: [note],
    transform: 'process',
    command,
    build: !app.config.build.script && Boolean(app.pkg?.scripts['build']),
  }
}
