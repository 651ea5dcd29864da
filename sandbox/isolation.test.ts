import { describe, expect, test } from 'vitest'
import { createLog } from '../registry/log.ts'
import { adviceFor, describeIsolation, type Isolation, judgeIsolation, type Machine } from './isolation.ts'
import { IsolationWatch } from './isolation-watch.ts'
import type { Finding } from './probes/suite.ts'
import { systemCallProbes } from './probes/system-calls.ts'

const names = [
  'platform files',
  'signals',
  'network',
  'files of the machine',
  'own user',
  'control group',
  ...systemCallProbes,
]
const findings = (through: string[], silent: string[] = []): Finding[] =>
  names.map((probe) => ({ probe, held: silent.includes(probe) ? null : !through.includes(probe), detail: '' }))

const machine: Machine = {
  platform: 'linux',
  arch: 'x64',
  isRoot: true,
  mayMount: true,
  hasLeasedUsers: true,
  missingTools: [],
  sysctl: {
    'user.max_user_namespaces': 15_000,
    'kernel.unprivileged_userns_clone': null,
    'kernel.apparmor_restrict_unprivileged_userns': null,
  },
  hasControlGroups: true,
}
const advise = (facts: Partial<Machine>, through = ['network']) =>
  adviceFor(findings(through), { ...machine, ...facts })

describe('the mode is what the probes prove', () => {
  test.each<[string, string[], string[], Isolation['mode']]>([
    ['everything holds', [], [], 'full'],
    ['one system call gets through', ['ptrace'], [], 'strong'],
    ['apps have no user of their own', ['own user'], [], 'strong'],
    ['the network is open', ['network', 'ptrace'], [], 'users'],
    ['secrets are open', ['network', 'platform files'], [], 'none'],
    ['a probe says nothing', [], ['files of the machine'], 'users'],
    ['a probe for secrets says nothing', [], ['platform files'], 'none'],
    [
      'system calls were not tried one by one, for there is no perl and there is a filter',
      [],
      systemCallProbes,
      'full',
    ],
    ['nothing reported', [], names, 'none'],
  ])('%s', (_, through, silent, mode) => {
    expect(judgeIsolation(findings(through, silent)).mode).toBe(mode)
  })

  test('no report at all proves nothing', () => {
    expect(judgeIsolation([]).mode).toBe('none')
  })

  test('each mode is said in one line', () => {
    const said = (through: string[]) => describeIsolation(judgeIsolation(findings(through)))
    expect(said([])).toBe('apps and builds are walled off from this machine and from each other')
    expect(said(['own user', 'ptrace', 'bpf'])).toContain('is missing: users of their own, a filter of system calls')
    expect(said(['network', 'bpf'])).toBe('apps and builds are users of their own and reach ports of this machine')
    expect(said(['platform files'])).toMatch(/^apps and builds are NOT walled off/)
  })
})

describe('what is advised names the command', () => {
  test.each<[string, Partial<Machine>, RegExp]>([
    ['no bubblewrap', { missingTools: ['bwrap', 'nft'] }, /apt-get install bubblewrap nftables$/],
    [
      'AppArmor in the way',
      { sysctl: { ...machine.sysctl, 'kernel.apparmor_restrict_unprivileged_userns': 1 } },
      /apparmor_parser -r \/etc\/apparmor\.d\/bwrap-userns-restrict$/,
    ],
    [
      'user namespaces switched off by Debian',
      { sysctl: { ...machine.sysctl, 'kernel.unprivileged_userns_clone': 0 } },
      /sysctl -w kernel\.unprivileged_userns_clone=1$/,
    ],
    ['root of a container', { mayMount: false }, /CAP_SYS_ADMIN$/],
    ['root of a container with few users', { hasLeasedUsers: false }, /run Atelier on the host/],
    ['an ordinary user', { isRoot: false }, /^start Atelier as root/],
    ['another system', { platform: 'darwin' }, /^run Atelier on Linux/],
  ])('%s', (_, facts, expected) => {
    expect(advise(facts)[0]).toMatch(expected)
  })

  test('nothing, where everything holds', () => {
    expect(advise({ isRoot: false, missingTools: ['nft'] }, [])).toEqual([])
  })
})

describe('a watch', () => {
  const log = createLog('test')
  log.level = 'silent'
  const proved = (mode: Isolation['mode']): Isolation => ({
    ...{ mode, walls: 'group' as const, holes: ['ports of this machine'], missing: [] },
    advice: ['install what is missing: apt-get install bubblewrap'],
  })

  test('refuses what is weaker than required, with the fix, and warns only otherwise', async () => {
    const base = { prove: async () => proved('users'), keep: async () => undefined, log }
    const strict = new IsolationWatch({ ...base, setting: 'require' })
    await expect(strict.demand()).rejects.toMatchObject({
      code: 'ISOLATION_WEAK',
      message: expect.stringMatching(
        /^ATELIER_ISOLATION=require, and here .* ports of this machine\. Install what is missing: apt-get/,
      ),
    })
    const lenient = new IsolationWatch({ ...base, setting: 'warn' })
    await expect(lenient.demand()).resolves.toBeUndefined()
    await Promise.all([strict.close(), lenient.close()])
  })

  test('finds out when the machine changes, both ways', async () => {
    let mode: Isolation['mode'] = 'full'
    const kept: string[] = []
    const keep = async (isolation: Isolation) => void kept.push(isolation.mode)
    const watch = new IsolationWatch({ prove: async () => proved(mode), keep, setting: 'require', log, periodMs: 5 })
    await watch.demand()
    mode = 'none'
    await expect
      .poll(() =>
        watch.demand().then(
          () => 'let in',
          () => 'refused',
        ),
      )
      .toBe('refused')
    mode = 'strong'
    await expect
      .poll(() =>
        watch.demand().then(
          () => 'let in',
          () => 'refused',
        ),
      )
      .toBe('let in')
    expect([...new Set(kept)]).toEqual(['full', 'none', 'strong'])
    await watch.close()
  })

  test('keeps what was proved when the database comes up later, and closes while it does not', async () => {
    let tries = 0
    const keep = async () => {
      tries += 1
      throw new Error('not yet')
    }
    const watch = new IsolationWatch({ prove: async () => proved('full'), keep, setting: 'warn', log })
    expect((await watch.current()).mode).toBe('full')
    await expect.poll(() => tries).toBeGreaterThan(1)
    await watch.close()
  })
})
