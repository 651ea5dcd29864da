import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { emptyOver, RoleLog } from './role-log.ts'

let directory: string
let file: string

beforeEach(() => {
  directory = mkdtempSync('/tmp/at-')
  file = join(directory, 'worker.log')
})

afterEach(() => rmSync(directory, { recursive: true }))

const warning = (text: string) => `{"level":40,"msg":"${text}"}\n`

test('hands on warnings and errors once, also one that was cut between two looks', () => {
  appendFileSync(file, warning('of an earlier run'))
  const heard: string[] = []
  const log = new RoleLog(file, ({ text }) => heard.push(text))
  appendFileSync(file, `{"level":30,"msg":"fine"}\n${warning('one')}{"level":40,"ms`)
  log.look()
  appendFileSync(file, 'g":"zwölf"}\n')
  log.look()
  log.look()
  log.close()
  expect(heard).toEqual(['one', 'zwölf'])
})

test('the last words are at hand', () => {
  const log = new RoleLog(file, () => undefined)
  appendFileSync(file, 'Error: no\n    at main.ts:1\n')
  expect(log.lastLines).toEqual(['Error: no', '    at main.ts:1'])
  log.close()
})

test('the file is turned over at 10 MB, and a flood is not read whole', () => {
  const heard: string[] = []
  const log = new RoleLog(file, ({ text }) => heard.push(text))
  appendFileSync(file, warning('flood').repeat(500_000))
  appendFileSync(file, warning('last'))
  log.look()
  expect(heard.at(-1)).toBe('last')
  expect(heard.length).toBeLessThan(5000)
  expect(statSync(file).size).toBe(0)
  expect(statSync(`${file}.1`).size).toBe(10 * 1_048_576)

  appendFileSync(file, warning('afterwards'))
  log.close()
  expect(heard.at(-1)).toBe('afterwards')
  expect(readFileSync(file, 'utf8')).toBe(warning('afterwards'))
})

test('a log that a program appends to by itself is emptied at 10 MB, and its end is kept', async () => {
  appendFileSync(file, warning('small'))
  await emptyOver(file)
  expect(readFileSync(file, 'utf8')).toBe(warning('small'))
  appendFileSync(file, `${warning('flood').repeat(500_000)}${warning('last')}`)
  await emptyOver(file)
  expect(statSync(file).size).toBe(0)
  expect(statSync(`${file}.1`).size).toBe(10 * 1_048_576)
  expect(readFileSync(`${file}.1`, 'utf8').endsWith(warning('last'))).toBe(true)
  appendFileSync(file, 'afterwards')
  expect(readFileSync(file, 'utf8')).toBe('afterwards')
})
