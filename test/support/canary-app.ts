import type { Files } from './repo.ts'

export type Temper = {
  /** Share of the requests that are answered 500, by a coin. */
  failing?: number
  /** What is answered to all others. */
  status?: number
  /** Some are answered at once and some take a while, half of them longer than this; the P95 is 3.7 times it. */
  medianMs?: number
  /** Does not answer. */
  hangs?: boolean
  poisonable?: boolean
}

/** `canary` as in atelier.config.ts. */
export type CanarySettings = {
  stages?: number[]
  observationWindowSec?: number
  autoRollback?: Record<string, number | string>
}

/**
 * A fetch app that passes its check, and behaves as it is told with everybody else: /health is always answered well. From the first request
 * for /poison on, if it is `poisonable`, it answers 503 to everything. `name` tells versions apart.
 */
export function canaryApp(name: string, temper: Temper, canary: CanarySettings | 'skip' = {}): Files {
  const deployments = { canary, healthCheck: { path: '/health' }, sleepAfterMin: false, maxIsolates: 1 }
  return {
    'package.json': '{"type":"module"}',
    'atelier.config.json': JSON.stringify({ deployments }),
    'index.js': [`const name = ${JSON.stringify(name)}`, `const temper = ${JSON.stringify(temper)}`, source].join('\n'),
  }
}

// The logarithm of what such an app takes is normally distributed, by Box and Muller; 0.795 makes the P95 3.7 times the median.
const source = `
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random())
const html = { 'content-type': 'text/html' }

let isPoisoned = false

export default {
  async fetch({ url }) {
    const { pathname } = new URL(url)
    if (pathname === '/health') return new Response('fit')
    const { failing = 0, status = 200, medianMs, hangs, poisonable } = temper
    if (poisonable && pathname === '/poison') isPoisoned = true
    if (isPoisoned) return new Response('out of order', { status: 503 })
    if (hangs) await new Promise(() => undefined)
    if (medianMs) await new Promise((resolve) => setTimeout(resolve, medianMs * Math.exp(0.795 * normal())))
    if (Math.random() < failing) throw new Error('this version of ' + name + ' fails now and then')
    return new Response('<!doctype html><title>' + name + '</title>', { status, headers: html })
  },
}
`
