import type { StepLog } from '../registry/build-logs.ts'
import type { Runtime } from '../sandbox/runtime.ts'
import type { AppParts } from './app-parts.ts'
import type { ModulesArchive } from './dependency-cache.ts'
import type { FrameworkCache } from './framework-cache.ts'
import type { Installer } from './install.ts'
import type { MissingFiles } from './missing-files.ts'
import type { PackageManager } from './package-manager.ts'
import type { PartsDigests } from './parts-digest.ts'
import type { App } from './plan.ts'
import type { Programs } from './programs.ts'
import type { Workspace } from './workspace.ts'

/** What the making of one build has at hand. */
export type BuildContext = {
  app: App
  workspace: Workspace
  /** The app's folder: the workspace's `app`, or a folder in it for a monorepo (`build.root`). */
  folder: string
  /** The same, relative to the workspace's `app`: `''`, `apps/web`. */
  root: string
  /** What the commit names and does not hold. */
  missing: MissingFiles
  /** What the app uses of its repository, of which it is a part or the whole. */
  parts: AppParts
  /** Null: there is nothing to install. `root` is where it installs, relative to the workspace's `app`. */
  installer: { root: string; installer: Installer; manager: PackageManager } | null
  programs: Programs
  runtime: Runtime
  env: Record<string, string>
  /** Whether anything that runs in it can tell which version it is making. */
  isToldVersion: boolean
  /** What it is made from, where that is a part of its repository and not told the version; null: otherwise. */
  partsSha256: PartsDigests | null
  /** Of what runs when the version is deployed: with what is for run time only, and without the relay of builds. */
  deployEnv: Record<string, string>
  /** What hooks are told, over all else (hook-env.ts). */
  hookEnv: Record<string, string>
  frameworkCache: FrameworkCache
  log: StepLog
}

/** Files to be published, below `from` in a folder of the platform's. */
export type Part = { root: string; from: string; skip: (path: string) => boolean }

/** The same, put below a folder of what is packed; `''`: at its top. */
export type PlacedPart = Part & { below: string }

/** What a build left to be packed. */
export type BuildOutput = {
  kind: 'static' | 'fetch' | 'server' | 'process'
  transforms: string[]
  /** Served by the edge itself; of two files with one name that of the earlier part. */
  pages: PlacedPart[]
  /** `single-page`: unknown navigations answer index.html, if it is the only page and there is no 404.html. */
  fallback: 'none' | 'single-page'
  server: ServerOutput | null
}

/** `folder`: where it starts, relative to the server archive; `''`: its top. */
export type StartCommand = { command: string; folder: string }

export type ServerOutput = {
  /** For a thread; relative to the server archive. */
  entry: string | null
  /** For a process. */
  start: StartCommand | null
  /** Packed in this order, each below its `below`. */
  parts: PlacedPart[]
  files: { path: string; content: Buffer }[]
  modules: ModulesArchive | null
}

/** Runs one of the app's programs in its folder; NODE_ENV is production unless the app's variables say otherwise. */
export function buildStepEnv({ env }: BuildContext): Record<string, string> {
  return { NODE_ENV: 'production', ...env }
}
