import { describe, expect, test } from 'vitest'
import { LineSplitter } from './lines.ts'

function split(...chunks: (string | Buffer)[]): string[] {
  const lines: string[] = []
  const splitter = new LineSplitter((line) => lines.push(line))
  for (const chunk of chunks) splitter.push(Buffer.from(chunk))
  splitter.end()
  return lines
}

describe('B10 lines of a program', () => {
  test('are those it ended, and the last', () => {
    expect(split('a\nb', 'c\r\n\nd')).toEqual(['a', 'bc', '', 'd'])
  })

  test('a progress bar is one line, with its last state, wherever it was cut', () => {
    const states = Array.from({ length: 50_000 }, (_, index) => `\r${index} of 50000`)
    expect(split(...states, '\ndone\n')).toEqual(['49999 of 50000', 'done'])
    expect(split(states.join(''), '\r', '\n', 'done')).toEqual(['49999 of 50000', 'done'])
    expect(split('10 %\x1b[2K\x1b[1G20 %\x1b[G30 %\n')).toEqual(['30 %'])
    expect(split('10 %\r', 'done\r\n')).toEqual(['done'])
  })

  test('one of a megabyte is one, and says that it goes on', () => {
    const chunk = 'x'.repeat(65_536)
    expect(split(...Array(16).fill(chunk), '\nnext')).toEqual([`${'x'.repeat(16_384)}…`, 'next'])
    expect(split(`${chunk}${chunk}\nnext`)).toEqual([`${'x'.repeat(16_384)}…`, 'next'])
    expect(split(chunk)).toEqual([`${'x'.repeat(16_384)}…`])
  })

  test('characters that come in pieces are whole, and bytes that are none are said to be none', () => {
    const bytes = Buffer.from('grün 🎉\n')
    expect(split(...Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual(['grün 🎉'])
    expect(split(Buffer.from([0x61, 0xff, 0xc3, 0x0a]), 'b')).toEqual(['a\ufffd\ufffd', 'b'])
    expect(split(Buffer.from([0x61, 0xf0, 0x9f]))).toEqual(['a\ufffd'])
  })
})
