// Whether an app that nobody can see into still lives, by what it does at its port. Node builtins only.
import { setTimeout as wait } from 'node:timers/promises'
import { waitingAt } from './process-ports.ts'
import type { Relay } from './process-relay.ts'

const lookEveryMs = 250

/**
 * Resolves when the app has shown that it lives: it has taken every connection that waited for it, or said something on another one. One that is only
 * slow takes connections meanwhile; one that can serve a single visitor at a time, and is at it, is heard.
 */
export async function signOfLife(relay: Relay): Promise<void> {
  const heard = relay.heardBytes
  while (waitingAt(relay.target.port) > 0 && relay.heardBytes === heard) await wait(lookEveryMs)
}
