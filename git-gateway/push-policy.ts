import type { Door } from '../registry/app-locks.ts'
import type { Config } from '../registry/config.ts'
import type { DeploymentOptions } from '../registry/deployments.ts'
import type { FollowUntil } from '../registry/followed-log.ts'
import { branchOf, type RefUpdate, type Verdict } from './ref-update.ts'

const pushOptions = ['canary=skip', 'follow', 'force-build', 'unlock']
const allowedRef = /^refs\/(heads|tags)\/[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/

/**
 * The rules a push breaks before anyone looks at its contents, as a verdict for each of its refs, or null when it breaks none. A push is
 * taken whole or not at all: one refused ref refuses them all.
 */
export function judgePush(
  updates: RefUpdate[],
  options: string[],
  { refs: maxRefs }: Config['pushLimits'],
): Verdict[] | null {
  const general = refuseCount(updates, maxRefs) ?? refuseOptions(options)
  return refuseWhole(updates, (update) => general ?? refuseName(update))
}

/** A verdict for each ref when one of them has a reason to be refused, else null. */
export function refuseWhole(updates: RefUpdate[], reasonFor: (update: RefUpdate) => string | null): Verdict[] | null {
  const own = updates.map(reasonFor)
  if (own.every((reason) => reason === null)) return null

  const culprit = updates[own.findIndex((reason) => reason !== null)]
  const others = `not pushed, for ${quote(culprit?.ref ?? '')} in the same push was refused`
  return updates.map(({ ref }, index) => ({ ref, ok: false, reason: own[index] ?? others }))
}

/** What the options of a push, all of them allowed ones, ask for: of its deployments, of the lock at the door, and of how long it stays. */
export type PushOptions = { deployment: DeploymentOptions; door: Door; until: FollowUntil }

export function readPushOptions(options: string[]): PushOptions {
  return {
    deployment: {
      ...(options.includes('canary=skip') ? { canary: 'skip' as const } : {}),
      ...(options.includes('force-build') ? { forceBuild: true, clearCaches: true } : {}),
    },
    door: options.includes('unlock') ? 'unlocking' : 'by hand',
    until: options.includes('follow') ? 'verdict' : 'traffic',
  }
}

function refuseCount(updates: RefUpdate[], maxRefs: number): string | null {
  if (updates.length > maxRefs) return `${updates.length} refs in one push are more than the ${maxRefs} Atelier takes`
  const names = updates.map(({ ref }) => ref)
  return new Set(names).size === names.length ? null : 'one ref is named twice in this push'
}

function refuseOptions(options: string[]): string | null {
  const unknown = options.find((option) => !pushOptions.includes(option))
  if (unknown === undefined) return null
  return `unknown push option ${quote(unknown)}; there are: ${pushOptions.join(', ')}`
}

function refuseName({ ref }: RefUpdate): string | null {
  if (!/^refs\/(heads|tags)\//.test(ref)) return `only branches and tags are taken, and ${quote(ref)} is neither`
  if (!allowedRef.test(ref) || ref.split('/').some(isIllegalPart) || ref.includes('..')) {
    return `${branchOf(ref) === null ? 'tag' : 'branch'} names hold letters, digits and . _ - /, begin with a letter or digit, and have at most 200 characters`
  }
  return null
}

// `refs/heads/HEAD` would make every later `HEAD` ambiguous.
function isIllegalPart(part: string, index: number): boolean {
  return part === '' || /^[.-]/.test(part) || /(\.|\.lock)$/.test(part) || (index === 2 && part === 'HEAD')
}

function quote(text: string): string {
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text
  return JSON.stringify(shown)
}
