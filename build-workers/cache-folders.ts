import { join } from 'node:path'
import type { BuildContext } from './build-context.ts'

// Kept by their tools to be found again by the next build. What is written anew by each (.svelte-kit, .nuxt, .docusaurus) is none.
const ofTools = [
  'node_modules/.cache',
  'node_modules/.vite',
  'node_modules/.astro',
  '.angular/cache',
  '.vitepress/cache',
  '.parcel-cache',
  '.turbo',
]

/** The folders, relative to the workspace's `app`, in which builds keep what makes the next one faster; `own`: the framework's, in the app's folder. */
export function cacheFolders({ root, installer }: BuildContext, own: string[] = []): string[] {
  const top = installer?.root ?? root
  const folders = [...own, ...ofTools].map((folder) => join(root, folder))
  return [...new Set([...folders, ...ofTools.slice(0, 2).map((folder) => join(top, folder))])]
}
