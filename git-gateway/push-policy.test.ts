import { expect, test } from 'vitest'
import { judgePush, readPushOptions } from './push-policy.ts'
import type { RefUpdate } from './ref-update.ts'

const limits = { packMb: 1, checkoutMb: 1, files: 10, refs: 3, idleTimeoutMs: 1, unpackTimeoutMs: 1 }

test.each(['refs/heads/main', 'refs/heads/pr/42', 'refs/heads/feature/a.b_c-d', 'refs/tags/v1.0.0', 'refs/heads/0'])(
  '%s may be pushed',
  (ref) => {
    expect(judgePush([update(ref)], [], limits)).toBeNull()
  },
)

test.each([
  'refs/heads/a$(id)',
  'refs/heads/a`id`',
  'refs/heads/a;id',
  'refs/heads/-oProxyCommand=x',
  'refs/heads/--upload-pack=x',
  'refs/heads/\u202Eniam',
  'refs/heads/a b',
  'refs/heads/a\nb',
  'refs/heads/..',
  'refs/heads/a..b',
  'refs/heads/a/../b',
  'refs/heads/a//b',
  'refs/heads/.a',
  'refs/heads/a/.b',
  'refs/heads/a/-b',
  'refs/heads/a.lock',
  'refs/heads/a.lock/b',
  'refs/heads/a.',
  'refs/heads/a/',
  'refs/heads/',
  'refs/heads/HEAD',
  `refs/heads/${'a'.repeat(201)}`,
  'refs/heads/main00-evil ',
  'refs/tags/$(id)',
])('G8: %j is refused by name', (ref) => {
  expect(judgePush([update(ref)], [], limits)).toEqual([
    { ref, ok: false, reason: expect.stringContaining('names hold letters') },
  ])
})

test.each([
  'refs/replace/abc',
  'refs/notes/commits',
  'refs/meta/config',
  'refs/pull/1/head',
  'HEAD',
  'main',
  'refs/heads',
])('G9: %s is neither a branch nor a tag', (ref) => {
  expect(judgePush([update(ref)], [], limits)).toEqual([
    { ref, ok: false, reason: `only branches and tags are taken, and "${ref}" is neither` },
  ])
})

test('G5: one refused ref refuses the whole push', () => {
  expect(judgePush([update('refs/heads/main'), update('refs/replace/x')], [], limits)).toEqual([
    { ref: 'refs/heads/main', ok: false, reason: 'not pushed, for "refs/replace/x" in the same push was refused' },
    { ref: 'refs/replace/x', ok: false, reason: expect.stringContaining('only branches and tags') },
  ])
})

test('G11: too many refs, or one named twice, are refused', () => {
  const many = ['a', 'b', 'c', 'd'].map((name) => update(`refs/heads/${name}`))
  expect(judgePush(many, [], limits)?.[0]).toMatchObject({
    reason: '4 refs in one push are more than the 3 Atelier takes',
  })
  expect(judgePush([update('refs/heads/a'), update('refs/heads/a')], [], limits)?.[0]).toMatchObject({
    reason: 'one ref is named twice in this push',
  })
})

test('G12: options are taken from a list, and others are refused by name', () => {
  const main = [update('refs/heads/main')]
  expect(judgePush(main, ['canary=skip', 'follow', 'force-build', 'unlock'], limits)).toBeNull()
  for (const option of ['a;b=c', 'canary=skip\nunlock', 'canary', 'FOLLOW', '', 'x'.repeat(65_000)]) {
    expect(judgePush(main, [option], limits)?.[0]).toMatchObject({
      ok: false,
      reason: expect.stringMatching(/^unknown push option ".*"; there are: canary=skip, follow, force-build, unlock$/),
    })
  }
  const deployment = { canary: 'skip', forceBuild: true, clearCaches: true }
  const asked = readPushOptions(['canary=skip', 'follow', 'force-build'])
  expect(asked).toEqual({ deployment, door: 'by hand', until: 'verdict' })
  expect(readPushOptions(['unlock'])).toEqual({ deployment: {}, door: 'unlocking', until: 'traffic' })
  expect(readPushOptions([])).toEqual({ deployment: {}, door: 'by hand', until: 'traffic' })
})

function update(ref: string): RefUpdate {
  return { old: '0'.repeat(40), new: '1'.repeat(40), ref }
}
