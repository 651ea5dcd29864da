import { expect, test } from 'vitest'
import { withoutBanner } from './site.ts'

function shown(command: string, lines: string[]): string[] {
  const taken: string[] = []
  const take = withoutBanner(command, (line) => taken.push(line))
  for (const line of lines) take(line)
  return taken
}

test('npm’s repetition of the command that was shown is left out', () => {
  expect(shown('vite build', ['', '> hello@1.0.0 build', '> vite build', '', 'built'])).toEqual(['', '', 'built'])
})

test.each([
  ['a command that was too long to show', 'npm run build', ['> hello@1.0.0 build', '> tsc -b && vite build', 'built']],
  ['another script', 'vite build', ['> hello@1.0.0 prebuild', '> node prepare.js', 'prepared']],
  ['quoted text', 'vite build', ['> build', 'is what I said', '> vite build', 'too']],
])('%s is shown as it is', (_what, command, lines) => {
  expect(shown(command, lines)).toEqual(lines)
})
