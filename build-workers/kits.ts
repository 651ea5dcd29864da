import { dependsOn } from './package-json.ts'
import type { App, Kit, Plan } from './plan.ts'
import { readStartCommand, servesFiles } from './start-command.ts'

/** Frameworks whose build is a server or a site, as their own config decides: what the build has left is believed. */
const kits: Kit[] = [
  {
    ...{ tool: '@sveltejs/kit', program: 'vite', title: 'SvelteKit' },
    // adapter-auto, which a new app has, knows where it is by such variables, and fetches what belongs there: at Google's adapter-node.
    env: { GCP_BUILDPACKS: '1' },
    leaves: [{ entry: 'build/index.js', files: 'build/client' }, { pages: 'build' }],
    advice:
      'put @sveltejs/adapter-node, or @sveltejs/adapter-static, in the place of its adapter in vite.config or svelte.config.js',
  },
  {
    ...{ tool: 'nuxt', program: 'nuxt', title: 'Nuxt' },
    leaves: [
      { entry: '.output/server/index.mjs', files: '.output/public', alone: '.output' },
      { pages: '.output/public' },
    ],
    advice: 'leave nitro.preset out of nuxt.config, or set it to node-server',
  },
  {
    ...{ tool: 'astro', program: 'astro', title: 'Astro' },
    leaves: [{ entry: 'dist/server/entry.mjs', files: 'dist/client' }, { pages: 'dist' }],
    advice: "for a server use @astrojs/node with mode: 'standalone'; for pages in another folder set build.output",
  },
  {
    ...{ tool: '@react-router/dev', program: 'react-router', title: 'React Router' },
    leaves: [{ module: 'build/server/index.js', files: 'build/client' }, { pages: 'build/client' }],
    advice: 'for another buildDirectory set build.script and build.output, or build.entry',
  },
  {
    ...{ tool: '@angular/core', program: 'ng', title: 'Angular' },
    leaves: [{ pages: 'dist/*/browser' }, { pages: 'dist/*' }],
    advice: 'for another outputPath set build.output',
  },
]

/** Apps of such a framework, unless they bring a server of their own. */
export function detectKit(app: App): Plan | null {
  const kit = kits.find(({ tool }) => dependsOn(app.pkg, tool))
  if (!kit || app.config.build.entry || startsOtherwise(app, kit)) return null
  return planKit(app, kit)
}

/** The kit of that name, whatever the app looks like; null: it is the name of none. */
export function chooseKit(app: App, name: string): Plan | null {
  const kit = kits.find(({ tool }) => nameOf(tool) === name)
  return kit ? planKit(app, kit) : null
}

function planKit(app: App, kit: Kit): Plan {
  const { pkg, config, tree } = app
  const start = readStartCommand(tree, pkg)
  return {
    framework: nameOf(kit.tool),
    reason: `${kit.title} detected (${kit.tool} in package.json)`,
    notes: [],
    transform: 'kit',
    kit: config.build.output ? { ...kit, leaves: [{ pages: config.build.output }] } : kit,
    command: start && !servesFiles(start) && start.file === null ? start.command : null,
    asProcess: config.build.kind === 'process',
  }
}

function nameOf(tool: string): string {
  return tool.replace(/^@([^/]*)\/(core|kit|dev)$/, '$1').replace(/^sveltejs$/, 'sveltekit')
}

// `node server.js` is a server of the app's own, unless it is what the build leaves.
function startsOtherwise({ tree, pkg }: App, { leaves }: Kit): boolean {
  const start = readStartCommand(tree, pkg)
  if (!start) return false
  const file = start.file?.replace(/^(\.\/)+/, '').replace(/\/+$/, '') ?? null
  if (file === null) return start.isFromProcfile && !servesFiles(start)
  const built = leaves.flatMap((left) => ('entry' in left ? [left.entry] : 'module' in left ? [left.module] : []))
  return !built.some((entry) => entry === file || entry.replace(/\/index\.[a-z]+$/, '') === file)
}
