import { basename } from 'node:path'
import type { BuildContext, BuildOutput } from '../build-context.ts'
import { runHook } from '../hooks.ts'

/** Static files as they lie in the app. */
export async function copyStatic(context: BuildContext, from: string): Promise<BuildOutput> {
  const { workspace, root, app } = context
  const migrations = from === '' ? app.config.database?.migrations : undefined
  await runHook(context, 'preBuild')
  await runHook(context, 'postBuild')
  const place = [root, from].filter(Boolean).join('/')
  return {
    kind: 'static',
    transforms: ['copy'],
    pages: [{ root: workspace.app, from: place, below: '', skip: (path) => path === migrations || isPrivate(path) }],
    fallback: 'none',
    server: null,
  }
}

/** What lies among static files and is for nobody to read: dot files (but `.well-known`), dependencies, our own config. */
export function isPrivate(path: string): boolean {
  const name = basename(path)
  return (
    (name.startsWith('.') && name !== '.well-known') || name === 'node_modules' || /^atelier\.config\.\w+$/.test(path)
  )
}
