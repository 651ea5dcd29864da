import { fork } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { launch } from './launch.ts'
import { processesSaying, ThrowAwayHome } from './throw-away-home.ts'
import { giveTo } from './users.ts'
import { tryWalls } from './walls.ts'

const isRoot = process.getuid?.() === 0
const node = process.execPath

await using probeHome = await ThrowAwayHome.make()
const everyWalls = await tryWalls(probeHome.buildUser)

let numbers = 0
/** A sleep that can be told from all others by its seconds. */
const uniqueSleep = () => `9${process.pid}${++numbers}`

describe.each(everyWalls)('behind $name', (walls) => {
  const isGroup = walls.name === 'group'
  const hasOwnFiles = walls.name.startsWith('bubblewrap')

  test('a program sees the environment it was given and nothing else', async () => {
    await using home = await ThrowAwayHome.make()
    const { stdout } = await home.run({ file: '/usr/bin/env', env: { GREETING: 'hello', EMPTY: '' } }, walls)
    const lines = stdout
      .trimEnd()
      .split('\n')
      .filter((line) => !isGroup || !line.startsWith('ATELIER_JOB='))
    expect(lines.sort()).toEqual(['EMPTY=', 'GREETING=hello'])
  })

  test('a folder that stays is writable where DATA_DIR says, and what it holds goes by its own name nowhere', async () => {
    await using home = await ThrowAwayHome.make()
    const dataDir = join(home.path, 'data-of-one')
    await mkdir(dataDir)
    await giveTo(dataDir, home.buildUser)
    await chmod(dataDir, 0o700)
    const say = 'echo kept >> "$DATA_DIR/file" && cat "$DATA_DIR/file" && echo "$DATA_DIR" && (ls "$0" || echo hidden)'
    const program = { file: '/bin/sh', args: ['-c', say, dataDir], dataDir }
    await home.run(program, walls)
    const { stdout } = await home.run(program, walls)
    expect(stdout).toBe(`kept\nkept\n${hasOwnFiles ? '/data\nhidden' : `${dataDir}\nfile`}\n`)
    expect((await stat(join(dataDir, 'file'))).uid).toBe(isRoot ? home.buildUser.uid : process.getuid?.())
  })

  test('a program has its own user, no groups, no way to more rights, and no descriptor but its own', async () => {
    await using home = await ThrowAwayHome.make()
    const { stdout } = await home.run(
      {
        file: '/bin/sh',
        args: ['-c', 'id -u; id -g; grep -E "^(Groups|NoNewPrivs|CapEff)" /proc/self/status; ls /proc/self/fd'],
      },
      walls,
    )
    const [uid, gid, groups, capabilities, noNewPrivs, ...descriptors] = stdout.trimEnd().split('\n')
    expect([Number(uid), Number(gid)]).toEqual(
      isRoot ? [home.buildUser.uid, home.buildUser.gid] : [process.getuid?.(), process.getgid?.()],
    )
    if (isRoot) expect(groups?.split(':')[1]?.trim()).toBe('')
    expect(noNewPrivs).toMatch(/NoNewPrivs:\s+1/)
    expect(capabilities).toMatch(/CapEff:\s+0+$/)
    // The last is that of the listing.
    expect(descriptors).toEqual(['0', '1', '2', '3'])
  })

  test('a daemon that left its session is gone when the program ends', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = uniqueSleep()
    const daemon = `setsid sh -c "setsid sleep ${seconds} & echo started" & wait; exit 3`
    const { exit, stdout } = await home.run({ file: '/bin/sh', args: ['-c', daemon] }, walls)
    expect(stdout).toBe('started\n')
    expect(exit).toEqual({ code: 3, signal: null, cause: 'exit' })
    expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
  })

  test('a stopped program may finish, and takes its daemons with it', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = uniqueSleep()
    const script = `trap 'echo bye; exit 0' TERM; setsid sleep ${seconds} & echo up; while :; do sleep 0.05; done`
    let written = ''
    const onOutput = (_stream: string, chunk: Buffer) => {
      written += chunk
    }
    const launched = await launch(await home.program({ file: '/bin/sh', args: ['-c', script], onOutput }), { walls })
    await expect.poll(() => written).toBe('up\n')
    expect(await launched.stop(10_000)).toEqual({ code: 0, signal: null, cause: 'stopped' })
    expect(written).toMatch(/bye\n$/)
    expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
  })

  test('a program that ignores SIGTERM is killed after the grace time', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = uniqueSleep()
    let written = ''
    const onOutput = (_stream: string, chunk: Buffer) => {
      written += chunk
    }
    const args = ['-c', `trap '' TERM; setsid sleep ${seconds} & echo up; while :; do sleep 1; done`]
    const launched = await launch(await home.program({ file: '/bin/sh', args, onOutput }), { walls })
    await expect.poll(() => written).toBe('up\n')
    expect(await launched.stop(200)).toEqual({ code: null, signal: 'SIGKILL', cause: 'stopped' })
    expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
  })

  test('an aborted program is gone with all it started', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = uniqueSleep()
    const abort = new AbortController()
    const args = ['-c', `setsid sleep ${seconds} & sleep ${seconds}`]
    const launched = await launch(await home.program({ file: '/bin/sh', args, signal: abort.signal }), { walls })
    await expect.poll(() => processesSaying(`sleep\0${seconds}`)).toHaveLength(2)
    abort.abort()
    expect((await launched.exited).cause).toBe('aborted')
    expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
    await expect(launch(await home.program({ file: '/bin/true', signal: abort.signal }), { walls })).rejects.toThrow(
      'abort',
    )
  })

  test('a program that runs too long, writes too much, or is killed, ends with that cause', async () => {
    await using home = await ThrowAwayHome.make()
    const tooLong = await home.run({ file: '/bin/sleep', args: [uniqueSleep()], limits: { timeoutMs: 1_000 } }, walls)
    expect(tooLong.exit).toEqual({ code: null, signal: 'SIGKILL', cause: 'timeout' })

    const tooMuch = await home.run({ file: '/usr/bin/yes', limits: { outputBytes: 100_000 } }, walls)
    expect(tooMuch.exit.cause).toBe('output')
    expect(tooMuch.stdout).toHaveLength(100_000)

    const killed = await home.run({ file: '/bin/sh', args: ['-c', 'kill -SEGV $$'] }, walls)
    expect(killed.exit).toEqual({ code: null, signal: 'SIGSEGV', cause: 'exit' })
    expect(killed.stderr).toBe('')
  })

  test('memory is counted over the whole tree', async () => {
    await using home = await ThrowAwayHome.make()
    const hog = 'const held = Buffer.alloc(150e6, 1); setInterval(() => held.length, 1000)'
    const script = `${JSON.stringify(node)} -e '${hog}' & ${JSON.stringify(node)} -e '${hog}' & wait`
    const both = await home.run(
      { file: '/bin/sh', args: ['-c', script], limits: { memoryMb: 300, timeoutMs: 30_000 } },
      walls,
    )
    expect(both.exit.cause).toBe('memory')
    const one = await home.run(
      { file: node, args: ['-e', `${hog}; setTimeout(process.exit, 3000)`], limits: { memoryMb: 300 } },
      walls,
    )
    expect(one.exit).toEqual({ code: 0, signal: null, cause: 'exit' })
  })

  test('disk is counted over the whole folder, and bounded for a single file', async () => {
    await using home = await ThrowAwayHome.make()
    const many = 'i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done'
    const fills = await home.run(
      { file: '/bin/sh', args: ['-c', many], limits: { diskMb: 20, timeoutMs: 30_000 } },
      walls,
    )
    expect(fills.exit.cause).toBe('disk')

    // In a folder where there is nothing yet.
    await using empty = await ThrowAwayHome.make()
    const one = await empty.run(
      { file: '/usr/bin/head', args: ['-c', '30000000', '/dev/zero'], limits: { diskMb: 20 } },
      walls,
    )
    expect(one.exit.cause).toBe('exit')
    const large = ['-c', 'exec head -c 30000000 /dev/zero > large']
    expect((await empty.run({ file: '/bin/sh', args: large, limits: { diskMb: 20 } }, walls)).exit.cause).toBe('disk')
    expect((await stat(join(empty.path, 'work', 'large'))).size).toBe(20 * 1_048_576)
  })

  test('a fork bomb meets its limit and ends', async () => {
    await using home = await ThrowAwayHome.make()
    const script = 'for i in $(seq 60); do sleep 5 & done; echo unbounded'
    const limits = { processes: 40, timeoutMs: 20_000 }
    const { stdout } = await home.run({ file: '/bin/dash', args: ['-c', script], limits }, walls)
    // An ordinary user's other processes would count too where there is no namespace, so there is no limit then.
    expect(stdout).toBe(isGroup && !isRoot ? 'unbounded\n' : '')
  })

  test('nothing is left of a tree whose launcher was killed', async () => {
    await using home = await ThrowAwayHome.make()
    const seconds = uniqueSleep()
    const script = join(home.path, 'launcher.ts')
    await writeFile(
      script,
      `import { launch } from '${join(import.meta.dirname, 'launch.ts')}'
       import { tryWalls } from '${join(import.meta.dirname, 'walls.ts')}'
       const walls = (await tryWalls(${JSON.stringify(home.buildUser)})).find(({ name }) => name === '${walls.name}')
       const args = ['-c', 'setsid sh -c "setsid sleep ${seconds} &"; exec sleep ${seconds}']
       await launch({ name: 'x', file: '/bin/sh', args, cwd: '/', env: {}, user: ${JSON.stringify(home.buildUser)}, limits: {} }, { walls })`,
    )
    const launcher = fork(script)
    await expect.poll(() => processesSaying(`sleep\0${seconds}`)).toHaveLength(2)
    launcher.kill('SIGKILL')
    await once(launcher, 'exit')
    // A group has no init: the program itself ends with its launcher, its daemon is what README.md warns of.
    const daemons = isGroup ? 1 : 0
    await expect.poll(() => processesSaying(`sleep\0${seconds}`)).toHaveLength(daemons)
    for (const pid of await processesSaying(`sleep\0${seconds}`)) process.kill(pid)
  })

  test('a program cannot read what belongs to the platform', async () => {
    await using home = await ThrowAwayHome.make()
    const [secret, note] = [join(home.path, 'secret'), join(home.path, 'note')]
    await writeFile(secret, 'the key', { mode: 0o600 })
    await writeFile(note, 'hello', { mode: 0o644 })
    await chmod(note, 0o644)
    const reads = await home.run({ file: '/bin/cat', args: [note, secret], readable: [note] }, walls)
    // An ordinary user has no other user to run programs as.
    expect(reads.stdout).toBe(isRoot || hasOwnFiles ? 'hello' : 'hellothe key')
    const environment = await home.run({ file: '/bin/cat', args: [`/proc/${process.pid}/environ`] }, walls)
    if (isRoot || hasOwnFiles || walls.name === 'user-namespace') expect(environment.stdout).toBe('')
  })

  test('a program serves on the socket that was bound for it', async () => {
    await using home = await ThrowAwayHome.make()
    const socketPath = join(home.path, 'run', 'app.sock')
    const server = `require('http').createServer((_, answer) => answer.end('hi')).listen({ fd: 3 })`
    const program = await home.program({ file: node, args: ['-e', server], listen: [socketPath] })
    const first = await launch(program, { walls })
    expect(await body(socketPath)).toBe('hi')

    const second = await launch(program, { walls })
    await first.stop(0)
    expect(await body(socketPath)).toBe('hi')
    await second.stop(0)
    await expect(stat(socketPath)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('a program reports over its control pipe', async () => {
    await using home = await ThrowAwayHome.make()
    const socketPath = join(home.path, 'run', 'app.sock')
    const args = ['-c', 'echo \'{"a":1}\' >&4; exec 4>&-; read line < /dev/zero']
    const launched = await launch(await home.program({ file: '/bin/sh', args, listen: [socketPath], control: true }), {
      walls,
    })
    expect(String((await once(launched.control ?? process.stdin, 'data'))[0])).toBe('{"a":1}\n')
    await launched.stop(0)
  })
})

describe('what cannot be started', () => {
  test('a file that is not there exits with 127, a folder that is not there is refused', async () => {
    await using home = await ThrowAwayHome.make()
    const { exit, stderr } = await home.run({ file: '/no/such/program' })
    expect(exit.code).toBe(127)
    expect(stderr).toContain('/no/such/program')
    const nowhere = home.run({ file: '/bin/true', cwd: join(home.path, 'nowhere') })
    await expect(nowhere).rejects.toMatchObject({ code: 'SANDBOX_FAILED', message: expect.stringContaining('nowhere') })
  })

  test('a socket path that the system cannot hold is named', async () => {
    await using home = await ThrowAwayHome.make()
    const socketPath = join(home.path, 'run', `${'x'.repeat(120)}.sock`)
    const tooLong = home.run({ file: '/bin/true', listen: [socketPath] })
    await expect(tooLong).rejects.toMatchObject({
      code: 'SANDBOX_FAILED',
      message: expect.stringContaining(socketPath),
    })
  })

  test('an environment that the system cannot hold leaves nothing behind', async () => {
    await using home = await ThrowAwayHome.make()
    const socketPath = join(home.path, 'run', 'app.sock')
    const env = { LARGE: 'x'.repeat(200_000) }
    const tooLarge = home.run({ file: '/bin/true', env, listen: [socketPath] })
    await expect(tooLarge).rejects.toMatchObject({ code: 'SANDBOX_FAILED' })
    await expect(stat(socketPath)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

test("one app's jobs run side by side, and the end of one leaves the other alone", async () => {
  await using home = await ThrowAwayHome.make()
  const seconds = uniqueSleep()
  const program = await home.program({ file: '/bin/sleep', args: [seconds] })
  const [first, second] = await Promise.all([launch(program), launch(program)])
  await expect.poll(() => sleeping(seconds)).toHaveLength(2)
  await first.stop(0)
  expect(await sleeping(seconds)).toHaveLength(1)
  await second.stop(0)
  expect(await processesSaying(`sleep\0${seconds}`)).toEqual([])
})

test('a program that floods its output waits for its reader', async () => {
  await using home = await ThrowAwayHome.make()
  const enough = new AbortController()
  let bytes = 0
  let firstAt = 0
  let enoughAt = 0
  const onOutput = (_stream: string, chunk: Buffer) => {
    firstAt ||= performance.now()
    bytes += chunk.length
    if (bytes < 2_500_000 || enoughAt > 0) return
    enoughAt = performance.now()
    enough.abort()
  }
  const { exit } = await home.run({
    ...{ file: '/usr/bin/yes', limits: { outputBytesPerSec: 1_000_000 }, onOutput, signal: enough.signal },
  })
  expect(exit.cause).toBe('aborted')
  // A second's worth at once, and then as much a second.
  expect(enoughAt - firstAt).toBeGreaterThan(1_000)
})

// The sleeps themselves; what has them started still has their name on its command line, too.
async function sleeping(seconds: string): Promise<number[]> {
  const pids = await processesSaying(`sleep\0${seconds}`)
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return pids.filter((_pid, index) => names[index] === 'sleep\n')
}

async function body(socketPath: string): Promise<string> {
  return new Promise((settle, failed) => {
    get({ socketPath, agent: false }, async (answer) => settle(Buffer.concat(await answer.toArray()).toString())).once(
      'error',
      failed,
    )
  })
}
