import type { AppConfig } from '../app-config.ts'
import type { BuildContext } from '../build-context.ts'
import { dependsOn, type PackageJson } from '../package-json.ts'
import { publicNames } from '../public-values.ts'
import { barrelPackages } from './barrel-packages.ts'
import type { Transforms } from './plugins/plugins.ts'

/** What a bundle of the app is to go through: what the config has not switched off, and would find something to do. */
export function chooseTransforms(
  { app, env }: Pick<BuildContext, 'app' | 'env'>,
  side: 'server' | 'client',
): Transforms {
  const { env_inline, import_strip, barrel_optimize } = app.config.build.transforms
  const names = publicNames(env)
  const strip = import_strip === false ? null : stripping(import_strip, app.pkg, side)
  const barrels = barrel_optimize === false ? null : barrelsOf(barrel_optimize, app.pkg)
  return {
    ...(env_inline && names.length > 0 && { env_inline: names }),
    ...(strip && { import_strip: strip }),
    ...(barrels && { barrel_optimize: barrels }),
  }
}

type Configured = AppConfig['build']['transforms']

// Node's own modules are at home on the server; there only a mark or a listed package is a reason to look.
function stripping(
  configured: Exclude<Configured['import_strip'], false>,
  pkg: PackageJson | null,
  side: 'server' | 'client',
): Transforms['import_strip'] | null {
  const { server, client } = configured === true ? { server: [], client: [] } : configured
  const hasMarks = dependsOn(pkg, 'server-only') || dependsOn(pkg, 'client-only')
  return side === 'client' || hasMarks || client.length > 0 ? { side, server, client } : null
}

function barrelsOf(configured: true | string[], pkg: PackageJson | null): Transforms['barrel_optimize'] | null {
  const listed = configured === true ? [] : configured
  const isWorth = listed.length > 0 || barrelPackages.some((name) => dependsOn(pkg, name))
  return isWorth ? { packages: barrelPackages, listed } : null
}
