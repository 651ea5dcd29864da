import { AppError } from './errors.ts'

/**
 * What people call a version: `sha` a git SHA or at least 4 characters of one, `timestamp` 20260328-153042, `release` 1.2.3,
 * `number` the per-app deployment number v17.
 */
export type VersionName =
  | { kind: 'sha'; text: string }
  | { kind: 'timestamp'; text: string }
  | { kind: 'release'; text: string }
  | { kind: 'number'; number: number }

/** The one reader of version names. Throws VERSION_ILLEGAL. */
export function parseVersion(text: string): VersionName {
  if (/^v[1-9]\d{0,8}$/.test(text)) return { kind: 'number', number: Number(text.slice(1)) }
  if (/^\d{8}-\d{6}$/.test(text)) return { kind: 'timestamp', text }
  if (/^\d{1,6}(\.\d{1,6}){2}(-[0-9A-Za-z.]{1,40})?$/.test(text)) return { kind: 'release', text }
  if (/^[0-9a-f]{4,64}$/.test(text)) return { kind: 'sha', text }
  throw new AppError(
    'VERSION_ILLEGAL',
    `${JSON.stringify(text.slice(0, 80))} is no version: use a git SHA (3f2a91c), a number (v17), a timestamp (20260328-153042) or a release (1.2.3)`,
  )
}

/** A git SHA as people see it (7 characters); every other version whole. */
export function shortVersion(version: string): string {
  return /^[0-9a-f]{40,64}$/.test(version) ? version.slice(0, 7) : version
}

/** The version of an upload made now: `20260328-153042`, UTC. */
export function timestampVersion(at: Date = new Date()): string {
  const digits = at.toISOString().replace(/[-:]/g, '')
  return `${digits.slice(0, 8)}-${digits.slice(9, 15)}`
}
