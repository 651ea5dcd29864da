import { afterAll, expect, test } from 'vitest'
import { startControlPlane } from '../../test/support/control-plane.ts'

const plane = await startControlPlane({ env: { ATELIER_API_TOKEN_RATE: '5', ATELIER_API_ADDRESS_RATE: '12' } })
afterAll(() => plane.close())

const from = (address: string, token: string | null) =>
  plane.ask('GET', 'whoami', { token, headers: { 'x-forwarded-for': `203.0.113.200, ${address}` } })

test('a token that asks too often is told when to come back, and others are not held up', async () => {
  const [eager, calm] = [await plane.token('read'), await plane.token('read')]
  for (let left = 4; left >= 0; left -= 1) {
    const { status, headers } = await from(`203.0.113.${left}`, eager)
    expect(status).toBe(200)
    expect(headers).toMatchObject({
      'ratelimit-policy': '"token";q=5;w=60',
      ratelimit: expect.stringContaining(`r=${left}`),
    })
  }
  const refused = await from('203.0.113.9', eager)
  expect(refused).toMatchObject({ status: 429, json: { error: { code: 'RATE_LIMITED' } } })
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
  expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60)
  expect((await from('203.0.113.9', calm)).status).toBe(200)
})

test('so is an address that tries tokens, which cannot say it is another one', async () => {
  const statuses: number[] = []
  for (let tried = 0; tried < 14; tried += 1) statuses.push((await from('203.0.113.77', `atl_${tried}`)).status)
  expect(statuses).toEqual([...Array(12).fill(401), 429, 429])
  expect((await from('203.0.113.78', null)).status).toBe(401)
})

test('whoever has a network of IPv6 has one allowance, not one for each of its addresses', async () => {
  const statuses: number[] = []
  for (let tried = 0; tried < 13; tried += 1) statuses.push((await from(`2001:db8:1:2::${tried}`, null)).status)
  expect(statuses).toEqual([...Array(12).fill(401), 429])
  expect((await from('2001:db8:1:3::1', null)).status).toBe(401)
})
