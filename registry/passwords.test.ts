import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { hashPassword, isPassword } from './passwords.ts'

test('hashing does not hold up whatever else is to be done', async () => {
  const order: string[] = []
  const hashing = hashPassword('correct horse battery').then(() => order.push('hashed'))
  await setImmediate()
  order.push('something else')
  await hashing
  expect(order).toEqual(['something else', 'hashed'])
})

test('nobody’s password is looked at like anybody’s, and is never right', async () => {
  expect(await isPassword('', null)).toBe(false)
  const kept = await hashPassword('correct horse battery')
  expect(await isPassword('correct horse battery', kept)).toBe(true)
  expect(await isPassword('correct horse batterz', kept)).toBe(false)
  await expect(isPassword('x', '$argon2id$v=19$m=8,t=1,p=1$AA')).rejects.toMatchObject({ code: 'INTERNAL' })
})

test('when too many come at once some are turned away, and all others are served', async () => {
  const asked = await Promise.allSettled(Array.from({ length: 40 }, () => isPassword('x', null)))
  const refused = asked.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
  expect(refused).toHaveLength(8)
  for (const reason of refused) expect(reason).toMatchObject({ code: 'SIGN_IN_LIMIT' })
  expect(await isPassword('x', null)).toBe(false)
})
