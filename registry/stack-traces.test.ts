import { describe, expect, test } from 'vitest'
import { findStackTraces } from './stack-traces.ts'

const trace = (head: string, ...frames: string[]) => [head, ...frames.map((frame) => `    at ${frame}`)]

describe('the stack traces in what an app wrote', () => {
  test('are the first three that are different, numbers aside', () => {
    const lines = [
      'listening on 3000',
      ...trace('Error: order 4711 is gone', 'load (/app/order.js:12:7)', 'handle (/app/index.js:3:1)'),
      'GET /orders/4711 500',
      ...trace('Error: order 4712 is gone', 'load (/app/order.js:12:7)', 'handle (/app/index.js:3:1)'),
      ...trace('TypeError: x is not a function', 'a (/app/a.js:1:1)'),
      ...trace('Error: order 4713 is gone', 'other (/app/other.js:1:1)'),
      ...trace('RangeError: too late', 'b (/app/b.js:1:1)'),
    ]
    expect(findStackTraces(lines).map((text) => text.split('\n')[0])).toEqual([
      'Error: order 4711 is gone',
      'TypeError: x is not a function',
      'Error: order 4713 is gone',
    ])
  })

  test('name files as the app knows them, and leave out what carries it', () => {
    const lines = trace(
      'Error: cart is empty',
      'Object.fetch (file:///var/lib/atelier/edge/apps/hello/k8z1wexamkow/code/src/cart.js:6:19)',
      'ask (file:///var/lib/atelier/runtime/scripts-af967b27b54bfeff/isolate-fetch.mjs:35:37)',
      'process.processTicksAndRejections (node:internal/process/task_queues:104:5)',
    )
    expect(findStackTraces(lines)).toEqual(['Error: cart is empty\n    at Object.fetch (src/cart.js:6:19)'])
  })

  test('are cut to five frames and to lines that can be read', () => {
    const [found = ''] = findStackTraces(trace(`Error: ${'x'.repeat(5000)}`, ...'abcdefgh'))
    const lines = found.split('\n')
    expect(lines).toHaveLength(6)
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(301)
  })

  test.each([
    [[]],
    [['']],
    [['    at nowhere']],
    [['    at nowhere', '    at nowhere else']],
    [['', '    at nowhere']],
    [['look at this', 'and at that']],
  ])('are none in %j', (lines) => {
    expect(findStackTraces(lines)).toEqual([])
  })
})
