import { mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from './support/command.ts'
import { findProgram } from './support/machine.ts'
import { checkout, plainEnv } from './support/platform.ts'

const deploy = join(checkout, 'deploy')
let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'atelier-install-'))
})

afterAll(() => rm(root, { recursive: true, force: true }))

function install(...args: string[]) {
  return run('sh', [join(deploy, 'install.sh'), ...args], { env: { ...plainEnv(), ATELIER_INSTALL_ROOT: root } })
}

const settings = () => readFile(join(root, 'etc/atelier/atelier.env'), 'utf8')

describe('the installer', () => {
  test('puts code, settings, units and command in their places, and what it leaves starts', async () => {
    const { code, stderr } = await install('--domain', 'example.com', '--port', '8123')
    expect(code, stderr).toBe(0)
    expect(await settings()).toMatch(
      /^ATELIER_DOMAIN=example\.com\nATELIER_HTTP_PORT=8123\n.*^ATELIER_ISOLATION=require$/ms,
    )
    expect((await stat(join(root, 'etc/atelier/atelier.env'))).mode & 0o777).toBe(0o600)
    expect((await readdir(join(root, 'etc/systemd/system'))).sort()).toEqual(['atelier.service', 'atelier@.service'])
    const help = await run(join(root, 'usr/local/bin/atelier'), ['help', 'serve'], { env: plainEnv() })
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('docs/apart.md') })
  })

  test('run again it upgrades: settings stay but for those named, two versions are kept, the newest is current', async () => {
    const before = await readlink(join(root, 'opt/atelier/current'))
    expect((await install('--apps-domain', 'example-apps.com')).code).toBe(0)
    expect(await settings()).toMatch(/^ATELIER_DOMAIN=example\.com\n.*^ATELIER_APPS_DOMAIN=example-apps\.com$/ms)
    const current = await readlink(join(root, 'opt/atelier/current'))
    expect(current).not.toBe(before)
    expect((await readdir(join(root, 'opt/atelier/releases'))).sort()).toEqual(
      [before, current].map((path) => path.replace('releases/', '')).sort(),
    )
  })

  test.each([
    [['--domain', 'no/name'], 'no/name is no host name'],
    [['--port', 'eighty'], 'eighty is no port'],
    [['--role', 'cook'], 'there is no role cook'],
    [['--rolle'], 'there is no option --rolle'],
    [['--domain'], '--domain needs a value'],
  ])('refuses %j in one sentence', async (args, sentence) => {
    expect(await install(...args)).toMatchObject({ code: 1, stderr: expect.stringContaining(sentence) })
  })

  test('is a script that shellcheck has nothing to say about', async () => {
    const shellcheck = await findProgram('shellcheck')
    const [program, args] = shellcheck ? [shellcheck, []] : ['sh', ['-n']]
    expect(await run(program, [...args, join(deploy, 'install.sh')], { env: plainEnv() })).toMatchObject({
      code: 0,
      stdout: '',
    })
  })
})

test('systemd understands the units, and gives the platform the time it needs to stop', async () => {
  for (const name of ['atelier.service', 'atelier@.service'])
    expect(await readFile(join(deploy, name), 'utf8')).toMatch(/^KillMode=mixed\nTimeoutStopSec=100$/m)
  const analyze = await findProgram('systemd-analyze')
  if (!analyze) return
  const { stderr } = await run(
    analyze,
    ['verify', join(deploy, 'atelier.service'), `${join(deploy, 'atelier@.service')}`],
    {
      env: plainEnv(),
    },
  )
  const problems = stderr.split('\n').filter((line) => line && !/is not executable: No such file/.test(line))
  expect(problems).toEqual([])
})
