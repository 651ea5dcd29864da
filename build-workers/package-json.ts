import { z } from 'zod'
import { AppError } from '../registry/errors.ts'
import type { SourceTree } from './source-tree.ts'

const words = z.record(z.string(), z.string()).default({})

const schema = z.looseObject({
  name: z.string().optional().catch(undefined),
  type: z.enum(['module', 'commonjs']).default('commonjs').catch('commonjs'),
  main: z.string().optional().catch(undefined),
  module: z.string().optional().catch(undefined),
  packageManager: z.string().optional().catch(undefined),
  engines: words.catch({}),
  scripts: words.catch({}),
  dependencies: words.catch({}),
  devDependencies: words.catch({}),
  optionalDependencies: words.catch({}),
  peerDependencies: words.catch({}),
})

export type PackageJson = z.infer<typeof schema>

/** The package.json at the root of the tree; null when there is none. Throws SOURCE_INVALID when it is no JSON object. */
export function readPackageJson(tree: SourceTree): PackageJson | null {
  const text = tree.read('package.json')
  if (text === null) return null
  try {
    return schema.parse(JSON.parse(text.replace(/^\uFEFF/, '')))
  } catch (cause) {
    const why = cause instanceof SyntaxError ? cause.message : 'it must be an object'
    throw new AppError('SOURCE_INVALID', `package.json cannot be read: ${why}`, { cause })
  }
}

/** That of a folder that has none. */
export function emptyPackageJson(): PackageJson {
  return schema.parse({})
}

/** The names of all that a package may load when it runs; none of a text that is no package.json. */
export function runtimeDependencies(text: string): string[] {
  try {
    const { dependencies, optionalDependencies, peerDependencies } = schema.parse(JSON.parse(text))
    return [dependencies, optionalDependencies, peerDependencies].flatMap((part) => Object.keys(part))
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof z.ZodError) return []
    throw thrown
  }
}

/** True for packages of `dependencies` and `devDependencies`. */
export function dependsOn(pkg: PackageJson | null, name: string): boolean {
  return pkg !== null && (Object.hasOwn(pkg.dependencies, name) || Object.hasOwn(pkg.devDependencies, name))
}

/** True when there is anything a package manager would install. */
export function hasDependencies(pkg: PackageJson): boolean {
  const parts = [pkg.dependencies, pkg.devDependencies, pkg.optionalDependencies, pkg.peerDependencies]
  return parts.some((part) => Object.keys(part).length > 0) || pkg['workspaces'] !== undefined
}
