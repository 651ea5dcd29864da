import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { Cgroup, findHierarchy, openYielding } from './cgroups.ts'
import { launch } from './launch.ts'
import { isAlive, isOrphan } from './process-tree.ts'
import { ThrowAwayHome } from './throw-away-home.ts'

const hierarchy = findHierarchy()
const yielding = hierarchy ? openYielding(hierarchy) : {}
const folders = [...new Set([...Object.values(hierarchy?.folders ?? {}), ...Object.values(yielding)])]
const groupsOf = async (pid: number) => {
  const names = await Promise.all(folders.map((folder) => readdir(folder)))
  return names.flat().filter((name) => name.startsWith(`${pid}-`))
}
/** What it has for jobs that give way, and keeps as long as it lives. */
const yieldingOf = async (pid: number) => {
  const names = await Promise.all(Object.values(yielding).map((folder) => readdir(dirname(folder))))
  return names.flat().filter((name) => name.startsWith(`atelier-${pid}-`))
}
const node = process.execPath

test.runIf(hierarchy)('I3: a job that takes more memory than it may is ended for it by the kernel', async () => {
  await using home = await ThrowAwayHome.make()
  const limits = { memoryMb: 100, timeoutMs: 60_000 }
  const bomb = 'const held = []; for (;;) held.push(Buffer.alloc(1e7, 1))'
  const { exit } = await home.run({ file: node, args: ['-e', bomb], limits })
  expect(exit.cause).toBe('memory')

  // What the shell started is counted with it, and the job does not go on without it.
  const script = `${JSON.stringify(node)} -e '${bomb}'; sleep 9${process.pid}`
  expect((await home.run({ file: '/bin/sh', args: ['-c', script], limits })).exit.cause).toBe('memory')
  expect(await groupsOf(process.pid)).toEqual([])
})

test.runIf(hierarchy)('memory that the kernel can take back is no reason to end a job', async () => {
  await using home = await ThrowAwayHome.make()
  const copies = 'for i in 1 2 3 4; do head -c 100000000 /dev/zero > f$i; cat f$i > /dev/null; done; echo done'
  const { stdout, exit } = await home.run({
    file: '/bin/sh',
    args: ['-c', copies],
    limits: { memoryMb: 100, timeoutMs: 60_000 },
  })
  expect({ stdout, exit }).toEqual({ stdout: 'done\n', exit: { code: 0, signal: null, cause: 'exit' } })
})

test.runIf(hierarchy)('processes and the share of the processor are bounded, and nothing is left after', async () => {
  await using home = await ThrowAwayHome.make()
  const limits = { processes: 20, yields: true, memoryMb: 200 }
  const launched = await launch(await home.program({ file: '/bin/sleep', args: ['60'], limits }))
  const [name = ''] = await groupsOf(process.pid)
  const setting = async (file: string, folder = '') => (await readFile(join(folder, name, file), 'utf8')).trim()
  const of = yielding
  expect(await setting('pids.max', of.pids)).toBe('20')
  const [file, share] = hierarchy?.version === 2 ? ['cpu.weight', '20'] : ['cpu.shares', '205']
  expect(await setting(file, of.cpu)).toBe(share)
  await expect.poll(async () => (await setting('cgroup.procs', of.memory)).split('\n').length).toBeGreaterThan(1)
  await launched.stop(0)
  expect(await groupsOf(process.pid)).toEqual([])
})

test.runIf(hierarchy)('groups that a killed platform left are swept by the next', async () => {
  await using home = await ThrowAwayHome.make()
  const script = join(home.path, 'platform.ts')
  await writeFile(
    script,
    `import { launch } from '${join(import.meta.dirname, 'launch.ts')}'
     const sleep = { name: 'x', file: '/bin/sleep', args: ['60'], cwd: '/', env: {}, user: ${JSON.stringify(home.buildUser)} }
     await launch({ ...sleep, limits: { memoryMb: 100 } })
     await launch({ ...sleep, limits: { memoryMb: 100, yields: true } })
     process.send?.('launched')
     setInterval(() => undefined, 1000)`,
  )
  const platform = fork(script)
  await once(platform, 'message')
  const pid = platform.pid ?? 0
  expect(await groupsOf(pid)).not.toEqual([])
  expect(await yieldingOf(pid)).not.toEqual([])
  platform.kill('SIGKILL')
  await once(platform, 'exit')
  await expect
    .poll(async () => {
      const next = fork(script)
      await once(next, 'message')
      next.kill('SIGKILL')
      return [...(await groupsOf(pid)), ...(await yieldingOf(pid))]
    })
    .toEqual([])
})

test.runIf(hierarchy)(
  'a process that a killed platform left waiting in a group is ended by the next',
  async ({ skip }) => {
    // A child of init, as a sandbox is whose platform was killed while it was set up; its group is named for a platform that is gone.
    const starter = spawn('/bin/sh', ['-c', 'sleep 600 & echo $!'], { stdio: ['ignore', 'pipe', 'ignore'] })
    const exited = once(starter, 'exit')
    const [line] = await once(starter.stdout, 'data')
    await exited
    const left = Number(String(line))
    if (!isOrphan(left)) {
      process.kill(left)
      skip('orphans go to another process than init here')
    }
    const shared = [...new Set(Object.values(hierarchy?.folders ?? {}))]
    const groups = shared.map((folder) => join(folder, `${left}-1-1`))
    for (const group of groups) {
      await mkdir(group)
      await writeFile(join(group, 'cgroup.procs'), String(left))
    }
    await using home = await ThrowAwayHome.make()
    const script = join(home.path, 'platform.ts')
    await writeFile(
      script,
      `import { findHierarchy } from '${join(import.meta.dirname, 'cgroups.ts')}'\nfindHierarchy()`,
    )
    await expect
      .poll(async () => {
        await once(fork(script), 'exit')
        return [isAlive(left), await groupsOf(left)]
      })
      .toEqual([false, []])
  },
)

test('version 2 is told in its own words', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'atl-cgroup-'))
  const limits = { memoryMb: 64, processes: 30 }
  const places = { memory: folder, pids: folder, cpu: folder }
  const group = Cgroup.make(limits, { version: 2, folders: places })
  const [name = ''] = await readdir(folder)
  const files = await readdir(join(folder, name))
  const written = await Promise.all(files.map((file) => readFile(join(folder, name, file), 'utf8')))
  expect(Object.fromEntries(files.map((file, index) => [file, written[index]]))).toEqual({
    'memory.max': '67108864',
    'memory.swap.max': '0',
    'memory.oom.group': '1',
    'pids.max': '30',
  })
  expect(group?.entrances).toEqual([join(folder, name, 'cgroup.procs')])
  await writeFile(join(folder, name, 'memory.events'), 'low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\n')
  expect(group?.ranOutOfMemory()).toBe(false)
  await writeFile(join(folder, name, 'memory.events'), 'low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 1\n')
  expect(group?.ranOutOfMemory()).toBe(true)
  await rm(folder, { recursive: true })
})
