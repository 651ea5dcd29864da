import { expect } from 'vitest'
import { Atelier, test } from './support/atelier.ts'
import { GitHost } from './support/git-host.ts'

test('a commit of a private git host is deployed by its address, and the command is told what it was', async () => {
  await using host = await GitHost.start({ at: '127.0.0.6', token: 'secret-of-the-host' })
  const sha = await host.commit('shop', { 'index.html': 'from the host' }, { subject: 'first' })
  await using atelier = await Atelier.start({ env: { ATELIER_OUTBOUND_ALLOW: host.address } })
  const command = ['deploy', '--app', 'shop', '--git', host.url('shop'), '--ref', 'main']
  const refused = await atelier.cli(command)
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('it wants a token') })

  const { code, stdout } = await atelier.cli([...command, '--git-token', '-'], { input: 'secret-of-the-host\n' })
  expect(code).toBe(0)
  expect(stdout).toContain(`shop ${sha.slice(0, 7)} · Static files`)
  expect(stdout).not.toContain('secret-of-the-host')
  expect(await atelier.get('shop', '/')).toMatchObject({ status: 200, body: 'from the host' })
  const { stdout: listed } = await atelier.cli(['deploys', '--app', 'shop', '--json'])
  expect(JSON.parse(listed).deployments[0]).toMatchObject({
    version: sha,
    source: 'git',
    subject: 'first',
    state: 'live',
  })

  const away = await atelier.cli(['deploy', '--app', 'shop', '--git', 'http://127.0.0.1:1/x.git'])
  expect(away).toMatchObject({ code: 1, stderr: expect.stringContaining('ATELIER_OUTBOUND_ALLOW') })
})
