import { mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { seccompFilter } from './seccomp.ts'
import { ThrowAwayHome } from './throw-away-home.ts'
import { giveTo } from './users.ts'
import { tryWalls } from './walls.ts'

await using probeHome = await ThrowAwayHome.make()
const rooms = (await tryWalls(probeHome.buildUser)).filter(({ name }) => name.startsWith('bubblewrap'))

test('there is bubblewrap on this machine, or nothing below is tested', () => {
  expect(rooms.map(({ name }) => name)).toContain('bubblewrap')
})

describe.each(rooms)('in the room of $name', (walls) => {
  test('I1: the host has no files there but its programs, a dozen of /etc, and what was given', async () => {
    await using home = await ThrowAwayHome.make()
    await writeFile(join(home.path, 'secret'), 'the key')
    const listed = await home.run(
      { file: '/bin/ls', args: ['/', '/etc', home.path], cwd: await home.folder('work') },
      walls,
    )
    const [top = '', etc = '', own = ''] = listed.stdout.split('\n\n')
    for (const name of ['home', 'root', 'boot', 'sys', 'opt', 'srv', 'mnt', 'media'])
      expect(top.split('\n')).not.toContain(name)
    expect(etc).toContain('passwd')
    expect(etc).not.toContain('shadow')
    expect(own.trim().split('\n')).toEqual([`${home.path}:`, 'work'])
  })

  test('what is given to be read cannot be written, also when the program owns it', async () => {
    await using home = await ThrowAwayHome.make()
    const [given, lent] = [await home.folder('given', { note: 'old' }), await home.folder('lent', { note: 'old' })]
    const script = 'echo new > given/note; echo new > lent/note; cat given/note lent/note'
    const { stdout, stderr } = await home.run(
      { file: '/bin/sh', args: ['-c', script], cwd: home.path, readable: [home.path, lent], writable: [given] },
      walls,
    )
    expect(stdout).toBe('new\nold')
    expect(stderr).toContain('lent/note: Read-only file system')
  })

  test('a path over a symlink is there under both its names, and one that is not there is left out', async () => {
    await using home = await ThrowAwayHome.make()
    const real = await home.folder('real', { note: 'here' })
    const alias = join(home.path, 'alias')
    await symlink(real, alias)
    const { stdout } = await home.run(
      { file: '/bin/cat', args: [join(alias, 'note'), join(real, 'note')], readable: [alias, join(home.path, 'no')] },
      walls,
    )
    expect(stdout).toBe('herehere')
  })

  test('a folder that only its user may enter is entered', async () => {
    await using home = await ThrowAwayHome.make()
    const closed = join(home.path, 'closed')
    await mkdir(closed, { mode: 0o700 })
    await giveTo(closed, home.buildUser)
    const { stdout, stderr } = await home.run(
      { file: '/bin/sh', args: ['-c', 'pwd; touch x && ls'], cwd: closed },
      walls,
    )
    expect({ stdout, stderr }).toEqual({ stdout: `${closed}\nx\n`, stderr: '' })
  })

  test('temporary files are its own, bounded, and gone after it', async () => {
    await using home = await ThrowAwayHome.make()
    const script =
      'ls -A /tmp /var/tmp /run /dev/shm | grep -v :; head -c 400000000 /dev/zero > /tmp/big; wc -c < /tmp/big'
    const first = await home.run({ file: '/bin/sh', args: ['-c', script], cwd: '/', readable: [] }, walls)
    expect(first.stdout.trim()).toBe(String(256 * 1_048_576))
    expect(first.stderr).toContain('No space left on device')
    const second = await home.run({ file: '/bin/ls', args: ['-A', '/tmp'], cwd: '/', readable: [] }, walls)
    expect(second.stdout).toBe('')
    await rm('/tmp/big', { force: true })
  })

  test('it has a name, a host name and processes of its own', async () => {
    await using home = await ThrowAwayHome.make()
    const script = 'whoami; hostname; getent hosts localhost | head -1; ls /proc | grep -c "^[0-9]"'
    const { stdout } = await home.run({ file: '/bin/sh', args: ['-c', script] }, walls)
    const [name, host, address, processes] = stdout.trim().split('\n')
    expect([name, host]).toEqual(['app', 'atelier'])
    expect(address).toMatch(/localhost/)
    expect(Number(processes)).toBeLessThan(8)
  })

  test('I6: names that steer a loader or a shell reach the program and nobody before it', async () => {
    await using home = await ThrowAwayHome.make()
    const env = { PATH: '/nowhere', LD_PRELOAD: '/no/such.so', NODE_OPTIONS: '--no-such-option', GREETING: 'hello' }
    const { stdout, exit } = await home.run({ file: '/usr/bin/env', env }, walls)
    expect(exit.code).toBe(0)
    expect(stdout).toContain('GREETING=hello')
    expect(stdout).toContain('NODE_OPTIONS=--no-such-option')
  })

  test('a variable with a value that no command line should show is in none', async () => {
    await using home = await ThrowAwayHome.make()
    const env = { PATH: '/usr/bin:/bin', TOKEN: `secret-${process.pid}` }
    const script = `tr '\\0' ' ' < /proc/1/cmdline; cat /proc/self/cmdline | tr '\\0' ' '; echo "$TOKEN"`
    const { stdout } = await home.run({ file: '/bin/sh', args: ['-c', script], env }, walls)
    expect(stdout.split(env.TOKEN)).toHaveLength(2)
  })
})

test('the filter is whole instructions that end in an answer, and there is none for other processors', () => {
  const filter = seccompFilter('x64')
  expect((filter?.length ?? 0) % 8).toBe(0)
  expect(filter?.subarray(-8)).toEqual(Buffer.from([6, 0, 0, 0, 0, 0, 0xff, 0x7f]))
  expect(seccompFilter('arm64')).toBeNull()
})
