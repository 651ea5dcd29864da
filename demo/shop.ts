import type { Files } from '../test/support/repo.ts'

// Short windows: a minute is long for somebody who looks on. Without this file it would be five minutes for each stage.
const config = { deployments: { canary: { stages: [5, 25, 50, 100], observationWindowSec: 30 } } }

const app = (
  version: string,
  failing: number,
) => `const page = '<!doctype html><title>Shop ${version}</title><h1>Welcome</h1>'

export default {
  fetch() {
    if (Math.random() < ${failing}) throw new Error('the price of an item is missing')
    return new Response(page, { headers: { 'content-type': 'text/html' } })
  },
}
`

/** Share of its requests that each version fails. */
export const failing = { good: 0.001, bad: 0.05 }

/** The shop as it is, and with a fault that no check before the start finds: one request in twenty fails. */
export const shop: Record<'good' | 'bad', Files> = {
  good: {
    'package.json': '{ "name": "shop", "private": true, "type": "module" }\n',
    'atelier.config.json': JSON.stringify(config, null, 2),
    'index.js': app('v1', failing.good),
  },
  bad: { 'index.js': app('v2', failing.bad) },
}
