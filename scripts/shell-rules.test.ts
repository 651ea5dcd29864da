import { expect, test } from 'vitest'
import { shellProblems } from './shell-rules.ts'

test.each([
  ["import { exec } from 'node:child_process'", 'exec'],
  ["import { spawn, execSync } from 'child_process'", 'exec'],
  ["import {\n  execSync as run,\n} from 'node:child_process'", 'exec'],
  ["import * as child from 'node:child_process'", 'by name'],
  ["import child from 'node:child_process'", 'by name'],
  ["const { exec } = await import('node:child_process')", 'by name'],
  ["const { exec } = require('child_process')", 'by name'],
  ["spawn('ls', [], { shell: true })", 'shell'],
  ["spawn('ls', [], { shell: '/bin/zsh' })", 'shell'],
  ["spawn('/bin/sh', ['-c', text])", 'sandbox'],
])('C4: %j does not pass the check', (source, why) => {
  expect(shellProblems('registry/new.ts', `// first line\n${source}\n`)).toEqual([
    expect.stringMatching(new RegExp(`^registry/new\\.ts:2: .*${why}`)),
  ])
})

test('C4: starting a program with its arguments passes, and a shell within the walls', () => {
  const source =
    "import { execFile, spawn } from 'node:child_process'\nspawn('git', [ref], { shell: false })\n/x/.exec(text)\n"
  expect(shellProblems('registry/new.ts', source)).toEqual([])
  expect(shellProblems('sandbox/walls.ts', "['/bin/sh', '-c', script]")).toEqual([])
})
