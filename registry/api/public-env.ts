import type { Deployment } from '../deployments.ts'
import { type EnvSnapshot, isPublicName, openEnvSnapshot } from '../env-vars.ts'
import type { Key } from '../secrets.ts'

/** Public names that were added, removed or set between two snapshots of one app and environment. */
export function changedPublicNames(before: EnvSnapshot, after: EnvSnapshot): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names].filter((name) => isPublicName(name) && before[name]?.value !== after[name]?.value).sort()
}

/** Public names whose values differ between what a deployment was built with and another environment's variables. */
export function differingPublicNames(
  built: Pick<Deployment, 'appId' | 'environment' | 'envSnapshot'>,
  other: Pick<Deployment, 'appId' | 'environment' | 'envSnapshot'>,
  key: Key,
): string[] {
  const [a, b] = [built, other].map(({ appId, environment, envSnapshot }) =>
    openEnvSnapshot(onlyPublic(envSnapshot), { scope: { app: appId, environment }, key, purpose: 'build' }),
  )
  const names = new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])
  return [...names].filter((name) => a?.[name] !== b?.[name]).sort()
}

function onlyPublic(snapshot: EnvSnapshot): EnvSnapshot {
  return Object.fromEntries(Object.entries(snapshot).filter(([name]) => isPublicName(name)))
}
