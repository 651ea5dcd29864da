import { expect, test } from 'vitest'
import { shownCommand } from './shown-command.ts'

test('a command is shown as it would be typed, on one line', () => {
  expect(shownCommand(['node', '-e', "console.log('a\nb')"], {})).toBe("node -e 'console.log('\\''a b'\\'')'")
})

test('values of variables are shown by their names, the longer one first', () => {
  const env = { SHORT: 'abc', PASSWORD: 'hunter22', URL: 'postgres://me:hunter22@db/hello' }
  const command = ['psql', 'postgres://me:hunter22@db/hello', '-c', 'abc hunter22']
  expect(shownCommand(command, env)).toBe("psql [URL] -c 'abc [PASSWORD]'")
})

test('C7: they are hidden in every form in which they are hidden in logs', () => {
  const env = { KEY: 'first-line-of-it\nsecond-line-of-it\nend', STAGE: 'production', TOKEN: 'correct/horse' }
  const command = ['node', '-e', env.KEY, `Basic ${Buffer.from('me:correct/horse').toString('base64')}`, 'production']
  expect(shownCommand(command, env)).toMatch(/^node -e \[KEY\] 'Basic \S+\[TOKEN\]\S*' production$/)
})

test('control characters do not reach a terminal, and a long command is cut', () => {
  expect(shownCommand(['echo', '\u001b[2Jgone'], {})).not.toContain('\u001b[2J')
  expect(shownCommand(['echo', 'x'.repeat(5000)], {})).toHaveLength(300)
})
