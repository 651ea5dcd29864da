import { createHash } from 'node:crypto'
import type { Config } from '../registry/config.ts'
import type { Deployment } from '../registry/deployments.ts'
import { leaseUser, type SandboxUser } from '../sandbox/users.ts'

/**
 * What a build is trusted with: production's code is the app's own, a preview's may be anybody's who may push a branch, a fork's a stranger's. Builds of one
 * standing share a user and caches, of different ones neither: whoever may write a preview's code cannot write production's by way of a cache.
 * Forks share nothing among themselves either: `of` is theirs.
 */
export type Standing = { kind: 'production' | 'preview' } | { kind: 'fork'; of: string }

/** The standing of a deployment's build: `options.fork` is the registry's word that a stranger wrote it. */
export function standingOf({
  environment,
  label,
  options,
}: Pick<Deployment, 'environment' | 'label' | 'options'>): Standing {
  if (options.fork) return { kind: 'fork', of: label }
  return { kind: environment === 'production' ? 'production' : 'preview' }
}

/** The folder of its caches in the app's. */
export function cacheFolderOf(standing: Standing): string {
  if (standing.kind !== 'fork') return standing.kind
  return `fork-${createHash('sha256').update(standing.of).digest('hex').slice(0, 16)}`
}

export function isCacheFolder(name: string): boolean {
  return /^(production|preview|fork-[0-9a-f]{16})$/.test(name)
}

/** Whether forks left what is in this folder. */
export function isOfFork(folder: string): boolean {
  return folder.startsWith('fork-')
}

/** Whom builds with the caches in this folder run as. A name with a plus is no app's. */
export function buildUser(config: Pick<Config, 'home'>, app: string, folder: string): Promise<SandboxUser> {
  const kind = folder.replace(/-.*$/, '')
  return leaseUser(config, { purpose: 'build', app: kind === 'production' ? app : `${app}+${kind}` })
}
