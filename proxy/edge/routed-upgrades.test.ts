import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { EdgeRoute } from '../edge-messages.ts'
import { RoutedUpgrades } from './routed-upgrades.ts'

const route: EdgeRoute = {
  id: 'route-1',
  appId: 'shown',
  environment: 'preview',
  branch: 'pr/1',
  label: 'shown-pr-1',
  generation: 1,
  weight: 0,
  live: null,
  candidate: null,
  gate: 'a gate',
  rollout: null,
}

const unasked = () => {
  throw new Error('asked for nothing')
}

test('a handshake whose password cannot be tried costs its connection alone', async () => {
  const logged: unknown[] = []
  const upgrades = new RoutedUpgrades({
    visits: { choose: unasked, pinned: unasked },
    upgrades: { count: unasked, pass: unasked },
    pins: { find: unasked },
    gate: { isOpen: () => false, ask: () => Promise.reject(new Error('no memory')) },
    trusted: { forwardingOf: unasked },
    limits: { waitForHostMs: 1, maxBodyBytes: 1, headTimeoutMs: 1 },
    log: { error: (said: unknown) => logged.push(said) },
  })
  const socket = new Socket()
  const request = new IncomingMessage(socket)
  await upgrades.serve(route, '/', { request, socket, head: Buffer.alloc(0) })
  expect(socket.destroyed).toBe(true)
  expect(logged).toEqual([{ err: new Error('no memory') }])
})
