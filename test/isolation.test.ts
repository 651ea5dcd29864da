import { expect } from 'vitest'
import { test } from './support/atelier.ts'

test('the platform proves how far it walls off what it runs, and says so where people look', async ({ atelier }) => {
  const isolation = async () => JSON.parse((await atelier.api('GET', 'status')).body).platform.isolation
  const modes = /^(full|strong|users|none)$/
  await expect.poll(isolation).toMatchObject({ setting: 'warn', mode: expect.stringMatching(modes) })

  const { mode, summary } = await isolation()
  const { stdout } = await atelier.cli(['status'])
  if (mode === 'full') expect(stdout).not.toContain('isolation')
  else expect(stdout).toContain(`isolation ${mode}: ${summary}; see: atelier doctor`)
})
