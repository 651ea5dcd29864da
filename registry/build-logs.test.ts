import { describe, expect, test } from 'vitest'
import { cleanLine, StepLog, stepLine } from './build-logs.ts'

describe('B10 cleanLine', () => {
  test('colours survive', () => {
    expect(cleanLine('\x1b[31mred\x1b[0m')).toBe('\x1b[31mred\x1b[0m')
  })

  test('B10: a colour, or writing nobody can see, ends with its line', () => {
    expect(cleanLine('\x1b[8mhidden')).toBe('\x1b[8mhidden\x1b[0m')
    expect(cleanLine('\x1b[31mred\x1b[m on')).toBe('\x1b[31mred\x1b[m on')
    expect(cleanLine(`${'x'.repeat(3_998)}\x1b[31mred`)).not.toContain('\x1b')
  })

  test.each([
    ['title and link sequences', '\x1b]0;owned\x07a\x1b]8;;http://evil\x1b\\b', 'ab'],
    ['cursor movement', 'a\x1b[2Ab\x1b[Kc', 'abc'],
    ['a line that overwrites itself shows its last version', 'progress 1\rprogress 2', 'progress 2'],
    ['bell, NUL, C1 and bidirectional overrides', 'a\x07\0b\u009bc\u202ed', 'abcd'],
    ['the mark used inside', '\u0001]0;owned\u0007', ']0;owned'],
    ['a line that is several', '       make\n-----> Live\r\n  x\n', '       make -----> Live x'],
    ['a lone surrogate', 'a\ud800', 'a\ufffd'],
  ])('%s', (_what, raw, shown) => {
    expect(cleanLine(raw)).toBe(shown)
  })

  test('a line of a megabyte is cut and says so', () => {
    expect(cleanLine('x'.repeat(1_000_000))).toMatch(/^x{4000} … \(cut\)$/)
  })
})

describe('StepLog', () => {
  const collect = () => {
    const lines: string[] = []
    const log = new StepLog(async (batch) => void lines.push(...batch), {
      onError: (error) => {
        throw error
      },
    })
    return { lines, log }
  }

  test('a short silent step is one line with its duration', async () => {
    const { lines, log } = collect()
    await log.step('Installing', 'npm ci', async (step) => step.detail('npm ci (cache hit)'))
    await log.flush()
    expect(lines).toEqual([stepLine('Installing', 'npm ci (cache hit)', 0)])
  })

  test('a step that speaks shows its head first and its duration last', async () => {
    const { lines, log } = collect()
    await log.step('Building', 'vite build', async (step) => step.output('✓ built'))
    await log.flush()
    expect(lines).toEqual([
      stepLine('Building', 'vite build', null),
      '       ✓ built',
      expect.stringMatching(/^ {7}done +0\.0 s$/),
    ])
  })

  test('what came of a step is said also when its head was shown before', async () => {
    const { lines, log } = collect()
    await log.step('Verifying', 'GET /', async (step) => {
      step.output('listening')
      step.detail('GET / → 200')
    })
    await log.flush()
    expect(lines).toEqual([
      stepLine('Verifying', 'GET /', null),
      '       listening',
      expect.stringMatching(/^ {7}GET \/ → 200 +0\.0 s$/),
    ])
  })

  test('of blank lines only those between two others are kept, one each', async () => {
    const { lines, log } = collect()
    await log.step('Installing', 'npm ci', async (step) => {
      for (const text of ['', '\r', 'added 28 packages', '', ' ', '3 packages want funding', '']) step.output(text)
    })
    await log.flush()
    expect(lines.slice(1, -1)).toEqual(['       added 28 packages', '', '       3 packages want funding'])
  })

  test('a step that is shown only when it is long says nothing otherwise', async () => {
    const { lines, log } = collect()
    await log.step('Starting', 'behind the proxy', async () => undefined, { onlyIfLong: true })
    await log.step('Starting', 'behind the proxy', () => expect.poll(() => lines).toHaveLength(1), { onlyIfLong: true })
    await log.flush()
    expect(lines).toEqual([
      stepLine('Starting', 'behind the proxy', null),
      expect.stringMatching(/^ {7}done +\d+\.\d s$/),
    ])
  })

  test('a step that fails below its head is not called done', async () => {
    const { lines, log } = collect()
    const failing = log.step('Building', 'vite build', async (step) => {
      step.output('no such file')
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    await log.flush()
    expect(lines).toEqual([stepLine('Building', 'vite build', null), '       no such file'])
  })

  test('a silent step that fails still has its line', async () => {
    const { lines, log } = collect()
    await expect(log.step('Building', 'vite build', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    await log.flush()
    expect(lines).toHaveLength(1)
  })
})
