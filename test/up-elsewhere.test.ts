import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Atelier } from './support/atelier.ts'
import { copyCheckout } from './support/checkout-copy.ts'
import { checkout } from './support/platform.ts'

const parts = [
  'build-workers',
  'cli',
  'git-gateway',
  'migrations',
  'proxy',
  'registry',
  'sandbox',
  'node_modules',
  'package.json',
]
const server = {
  'package.json': JSON.stringify({ name: 'shop', scripts: { start: 'node server.js' } }),
  'server.js': `require('node:http').createServer((_, answer) => answer.end('uid ' + process.getuid())).listen(process.env.PORT)`,
}

// Another user's view of things can only be tried by root.
describe.runIf(process.getuid?.() === 0 && process.platform === 'linux')('the platform of another checkout', () => {
  let scratch = ''

  beforeEach(async () => {
    scratch = await mkdtemp('/tmp/at-')
    await chmod(scratch, 0o711)
  })

  afterEach(() => rm(scratch, { recursive: true, force: true }))

  async function checkoutIn(folder: string, mode: number): Promise<string> {
    const to = join(scratch, folder, 'atelier')
    await mkdir(to, { recursive: true })
    await copyCheckout(checkout, parts, to)
    await chmod(join(scratch, folder), mode)
    return to
  }

  test('root starts it from a directory closed to everyone else, and apps run as users of their own', async () => {
    await using atelier = await Atelier.start({ from: await checkoutIn('closed', 0o700) })
    const repo = await atelier.clone(await atelier.createApp('shop'))
    await repo.commit(server)
    await repo.push()
    const { status, body } = await atelier.get('shop', '/')
    expect(status).toBe(200)
    expect(body).toMatch(/^uid [1-9]\d+$/)
  })

  test('an ordinary user starts it, and his apps run as himself', async () => {
    const nobody = { uid: 65_534, gid: 65_534 }
    await using atelier = await Atelier.start({ from: await checkoutIn('open', 0o755), user: nobody })
    const repo = await atelier.clone(await atelier.createApp('shop'))
    await repo.commit(server)
    await repo.push()
    expect(await atelier.get('shop', '/')).toMatchObject({ status: 200, body: 'uid 65534' })
  })
})
