import { isPublicName } from '../registry/env-vars.ts'

/** Names of a build's variables that may be in what browsers load, sorted: what is hashed is what is inlined. */
export function publicNames(env: Record<string, string>): string[] {
  return Object.keys(env)
    .filter((name) => isPublicName(name))
    .sort((a, b) => (a < b ? -1 : 1))
}
