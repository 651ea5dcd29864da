import { z } from '@hono/zod-openapi'
import { isBranchName } from '../branch-names.ts'

// The fields requests are made of. Nothing that goes on into SQL, keys, logs or a terminal may hold a control character, of the ASCII kind
// or the bidirectional one.

const oneLine = 'must be one line without control characters'
const plain = /^[^\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]*$/u

/** A single line of text without control characters. */
export function line(maxLength: number) {
  return z.string().min(1).max(maxLength).regex(plain, oneLine)
}

/** Only looked up, so it may be any line: what is no app's name is not found. */
export const appName = line(64).openapi({ example: 'hello' })

/** Of an app that is to be made: what is no app's name is told why (createApp), however long it is. */
export const newAppName = z.string().max(1000).regex(plain, oneLine).openapi({ example: 'hello' })

export const deploymentId = z
  .string()
  .regex(/^[a-z][a-z0-9]{11}$/, 'must be a deployment id of 12 characters')
  .openapi({ example: 'k3v9q0x7m2ab' })

/** Read by parseVersion where it is looked up. */
export const versionName = line(80).openapi({ example: '3f2a91c' })

/** The git gateway's rule for branches (refs/heads/…), for deployments that come without git. */
export const branchName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/, 'must be a plain branch name such as main or fix/login')
  .refine(isBranchName, 'must be a branch name git allows')
  .openapi({ example: 'main' })

/** Why somebody does something, in their words. */
export const reason = line(500).openapi({
  description: 'why, in your words; shown to everybody',
  example: 'sale at noon',
})

/** Of an order to a rollout. */
export const ofVersion = versionName.nullish().openapi({
  description:
    'the version that is meant; ROLLOUT_OTHER and no change when the rollout under way is that of another one',
  example: 'v17',
})

export const environment = z.enum(['production', 'preview'])

/** Only looked up, but where a person is made; there it is read by createPerson. */
export const personName = line(63).openapi({ example: 'ada' })

export const role = z.enum(['owner', 'deployer', 'viewer'])
export const platformRole = z.enum(['admin', 'member', 'guest']).openapi({
  description: 'admin: everything; member: may create apps, and owns those; guest: only what the roles on apps say',
})

/** A number in a query string. */
export function count(low: number, high: number) {
  return z.coerce.number().int().min(low).max(high).openapi({ type: 'integer', minimum: low, maximum: high })
}

/** `true` or `false` in a query string. */
export const flag = z.enum(['true', 'false']).transform((text) => text === 'true')

/** `skip`: a new version takes all traffic at once. */
export const canary = z.enum(['skip']).optional().openapi({ description: 'all traffic at once, without a rollout' })

/** How far a deployment is followed. */
export const until = z.enum(['traffic', 'verdict']).default('traffic').openapi({
  description: 'traffic: until it has visitors or has failed; verdict: until its rollout is over',
})
