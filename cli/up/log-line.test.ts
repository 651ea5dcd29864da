import { expect, test } from 'vitest'
import { readLogLine } from './log-line.ts'

test.each([
  ['{"level":30,"msg":"edge serves"}', null],
  [
    '{"level":40,"time":"2026-01-01T00:00:00Z","role":"proxy","app":"hello","status":502,"msg":"app does not answer"}',
    { level: 'warn', text: 'app does not answer app=hello status=502' },
  ],
  [
    '{"level":50,"role":"worker","err":{"message":"disk full","stack":"Error: …"},"deployment":"abc","msg":"build failed"}',
    { level: 'error', text: 'build failed deployment=abc (disk full)' },
  ],
  ['    at main (file.ts:1:1)', { level: 'error', text: '    at main (file.ts:1:1)' }],
  ['{"level":50,"msg":"cut in the mid', { level: 'error', text: '{"level":50,"msg":"cut in the mid' }],
])('%s', (line, read) => {
  expect(readLogLine(line)).toEqual(read)
})
