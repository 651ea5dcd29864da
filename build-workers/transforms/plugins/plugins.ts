import type { Plugin } from 'esbuild'
import { type BarrelSettings, barrelOptimize } from './barrel-optimize.ts'
import { envInline } from './env-inline.ts'
import { importStrip, type StripSettings } from './import-strip.ts'

/** What each transform of a bundle is to do; one that is not there is off, or has nothing to do. */
export type Transforms = {
  /** Names of public variables. */
  env_inline?: string[]
  import_strip?: StripSettings
  barrel_optimize?: BarrelSettings
}

/** Of the transforms that a bundle has, the plugins; whoever resolves an import first decides. */
export function pluginsOf(transforms: Transforms, env: NodeJS.ProcessEnv): Plugin[] {
  const { env_inline: names, import_strip: strip, barrel_optimize: barrels } = transforms
  return [
    ...(names ? [envInline(names, env)] : []),
    ...(strip ? [importStrip(strip)] : []),
    ...(barrels ? [barrelOptimize(barrels)] : []),
  ]
}
