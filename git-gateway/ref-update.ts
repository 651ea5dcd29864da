import { AppError } from '../registry/errors.ts'
import { plainLine } from './plain-line.ts'

const maxReason = 400

/** One line of a push: move `ref` from `old` to `new`; all zeros mean that it does not exist before, or shall not exist after. */
export type RefUpdate = { old: string; new: string; ref: string }
/** What became of it; a reason stands in git's own line: `! [remote rejected] main -> main (reason)`. */
export type Verdict = { ref: string; ok: true } | { ref: string; ok: false; reason: string }

/** A ref update that git's history or the platform's rules do not allow; the message is the verdict's reason. */
export class Refused extends Error {}

/** Reads `<old> <new> <ref>`. Throws REQUEST_INVALID. */
export function parseUpdate(line: string): RefUpdate {
  const match = /^([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) (.+)$/s.exec(line)
  if (!match) throw new AppError('REQUEST_INVALID', `${JSON.stringify(line.slice(0, 80))} is no ref update`)
  return { old: match[1] ?? '', new: match[2] ?? '', ref: match[3] ?? '' }
}

export function isZero(sha: string): boolean {
  return /^0+$/.test(sha)
}

/** `main` for refs/heads/main; null for anything that is no branch. */
export function branchOf(ref: string): string | null {
  return ref.startsWith('refs/heads/') ? ref.slice('refs/heads/'.length) : null
}

/** `main` for refs/heads/main, `v1` for refs/tags/v1; other refs whole. */
export function shortRef(ref: string): string {
  return ref.replace(/^refs\/(heads|tags)\//, '')
}

/** The same refusal for every ref of a push. */
export function refuseAll(updates: RefUpdate[], reason: string): Verdict[] {
  return updates.map(({ ref }) => ({ ref, ok: false, reason }))
}

/** A verdict as git's reports have it: `ok <ref>`, or `ng <ref> <reason>`. */
export function reportLine(verdict: Verdict): string {
  return verdict.ok ? `ok ${verdict.ref}` : `ng ${verdict.ref} ${plainLine(verdict.reason, maxReason) || 'refused'}`
}
