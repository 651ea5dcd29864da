import type { AppConfig } from './app-config.ts'
import type { PackageJson } from './package-json.ts'
import type { SourceTree } from './source-tree.ts'

/** How an app is built, and why so. Paths are inside the app. */
export type Plan = {
  /** For the manifest: `hono`, `vite`, `express`, `static`, … */
  framework: string
  /** For the log: `Hono detected (hono in package.json, src/index.ts)`. */
  reason: string
  /** What the person should know besides. */
  notes: string[]
} & Transform

/** What builds: a script of package.json, else a program of the dependencies. */
export type BuildTool = { scripts: string[]; program: string; args: string[] }

export type Transform =
  /** The files below `root` as they are. */
  | { transform: 'copy'; root: string }
  /** A program that writes a folder of static files: a script of package.json, or the tool itself. `output` null: as the tool's config says. */
  | { transform: 'site'; tool: string; build: BuildTool; output: string }
  /** `next build`. `dist`: where it is thought to leave its work. */
  | { transform: 'next'; dist: string; asProcess: boolean }
  /** A program whose build is a server or a site. `command`: the start command, for a server that is one of its dependencies. */
  | { transform: 'kit'; kit: Kit; command: string | null; asProcess: boolean }
  /** One ES module with a default export that has `fetch`, made by esbuild. */
  | { transform: 'bundle'; entry: string }
  /** A program that listens. `build`: scripts.build runs first, and `entry` may be its product; null: as package.json says after it ran. */
  | { transform: 'server'; entry: string; build: boolean; asProcess: boolean }
  /** A start command that runs as it stands; scripts.build runs before it is packed. */
  | { transform: 'process'; command: string; build: boolean }
  /** build.script of the config; `entry` null: its output is static. */
  | {
      transform: 'script'
      script: string
      output: string
      entry: string | null
      /** A start command for what it leaves. */
      command: string | null
      asProcess: boolean
    }

/** What a build may leave. Paths are in the app; in `pages`, `*` stands for one folder. */
export type Left =
  /** A program that listens; `files` are served by the edge. `alone`: it needs nothing but this folder. */
  | { entry: string; files: string; alone?: string }
  /** A server for a program of the dependencies, which the start command names. */
  | { module: string; files: string }
  | { pages: string }

export type Kit = {
  /** Its package, and the program that builds where there is no build script. */
  tool: string
  program: string
  title: string
  /** Variables of its build; the app's own overrule them. */
  env?: Record<string, string>
  /** The first that is there counts. */
  leaves: Left[]
  /** What to do when its build has left none of these. */
  advice: string
}

export type App = { tree: SourceTree; pkg: PackageJson | null; config: AppConfig }
