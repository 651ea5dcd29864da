import { expect, test } from 'vitest'
import { digestInputs } from './reusable-builds.ts'

const inputs = {
  version: '1.2.3',
  sourceTree: 'a'.repeat(40),
  target: { environment: 'production', branch: 'main', label: 'hello' },
  env: {},
} as const
const by = { platform: '0.1.0', node: 'v26.10.0', arch: 'x64' } as const

test('the same files are the same build on the same platform, Node and processor only', () => {
  const digest = (changed: object) => digestInputs(inputs, { reads: 'build', by: { ...by, ...changed } })
  expect(digest({})).toEqual(digest({}))
  for (const changed of [{ platform: '0.1.1' }, { node: 'v26.11.0' }, { arch: 'arm64' }]) {
    expect(digest(changed).inputSha256).not.toBe(digest({}).inputSha256)
    expect(digest(changed).treeSha256).not.toBe(digest({}).treeSha256)
  }
})
