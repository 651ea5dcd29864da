import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSlug } from './apps.ts'
import { targetOfBranch } from './branches.ts'

const app = { id: 'hello', productionBranch: 'main' }

describe('targetOfBranch', () => {
  test.each([
    ['main', 'production', 'hello'],
    ['pr/42', 'preview', 'hello-pr-42'],
    ['fix-login', 'preview', 'hello-git-fix-login'],
  ])('%s is %s at %s', (branch, environment, label) => {
    expect(targetOfBranch(app, branch)).toEqual({ environment, branch, label })
  })

  test('before production is settled, main and master both mean it; afterwards only the settled one does', () => {
    expect(targetOfBranch({ id: 'hello', productionBranch: null }, 'master').environment).toBe('production')
    expect(targetOfBranch({ id: 'hello', productionBranch: 'master' }, 'main').environment).toBe('preview')
  })

  test('main00-evil is a preview, not production', () => {
    expect(targetOfBranch(app, 'main00-evil').environment).toBe('preview')
  })

  test('different branches never share a label, and every label is a host label', () => {
    const branch = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,80}$/)
    fc.assert(
      fc.property(branch, branch, (one, other) => {
        fc.pre(one !== other)
        const labels = [targetOfBranch(app, one).label, targetOfBranch(app, other).label]
        expect(labels[0]).not.toBe(labels[1])
        for (const label of labels) expect(label).toMatch(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
      }),
    )
  })
})

describe('parseSlug', () => {
  test.each(['a', 'hello', 'my-app-2', 'a'.repeat(38)])('takes %s', (name) => {
    expect(parseSlug(name)).toBe(name)
  })

  test.each([
    '',
    'Hello',
    '1app',
    '-a',
    'a-',
    'a_b',
    'x-pr-1',
    'a-git-b',
    'a'.repeat(39),
    'a.b',
    'a/b',
    'a\n',
    '../a',
    'ä',
  ])('refuses %j', (name) => {
    expect(() => parseSlug(name)).toThrow(expect.objectContaining({ code: 'APP_NAME_ILLEGAL' }))
  })
})
