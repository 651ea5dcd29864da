import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, getPriority, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { findHierarchy } from './cgroups.ts'
import { launch } from './launch.ts'
import { ThrowAwayHome } from './throw-away-home.ts'
import type { SandboxUser } from './users.ts'
import { type ProcessorTimes, turnOf, YieldingGroup } from './yielding-group.ts'

const hierarchy = findHierarchy()
const hasGroup = YieldingGroup.open() !== null
const openGroup = () => YieldingGroup.open() ?? expect.fail('there is no such group')
const groupsOf = (pid: number | string) => readFile(`/proc/${pid}/cgroup`, 'utf8')

test('who yields waits while others are there, and has a turn when these leave it nothing', () => {
  const before: ProcessorTimes = { yielding: 5, all: 100, free: 50 }
  const after = (yielding: number, free: number) =>
    turnOf(before, { yielding: 5 + yielding, all: 110, free: 50 + free })
  expect(after(3, 0)).toBe('waits')
  expect(after(0, 5)).toBe('waits')
  expect(after(0.1, 0)).toBe('takes its share')
  expect(after(1.9, 0.4)).toBe('takes its share')
  // Nobody else is there.
  expect(after(9, 0.9)).toBe('takes its share')
  expect(after(0, 9.9)).toBe('takes its share')
})

test.runIf(hasGroup)('a job that yields is in a group beside the others’, which waits for everybody', async () => {
  await using home = await ThrowAwayHome.make()
  const start = async (limits: { yields?: boolean; processes: number }) =>
    launch(await home.program({ file: '/bin/sleep', args: ['60'], limits }))
  const yielding = await start({ yields: true, processes: 20 })
  const other = await start({ processes: 20 })
  const { folder } = openGroup()
  await expect.poll(() => groupsOf(yielding.pid)).toMatch(new RegExp(`/${basename(folder)}/\\d+-`))
  await expect.poll(() => groupsOf(other.pid)).toMatch(/\/atelier\/\d+-/)
  expect(await groupsOf(other.pid)).not.toContain(basename(folder))
  expect(dirname(folder)).toBe(dirname(hierarchy?.folders.cpu ?? ''))
  await Promise.all([yielding.stop(0), other.stop(0)])
})

test.runIf(hasGroup)('the group waits when others are there, and is like them when it does not', async () => {
  const group = openGroup()
  const [file, share] = hierarchy?.version === 2 ? ['cpu.weight', '100'] : ['cpu.shares', '1024']
  expect([await settingOf(group, 'cpu.idle'), await settingOf(group, file)]).toEqual(['0', share])
  meetOthers(group)
  expect(await settingOf(group, 'cpu.idle')).toBe('1')
  const { yielding, all, free } = group.times()
  group.look({ yielding, all: all + 100, free })
  expect([await settingOf(group, 'cpu.idle'), await settingOf(group, file)]).toEqual(['0', share])
})

test.runIf(hasGroup)('programs that want every core do not keep what yields from going on', async () => {
  const group = openGroup()
  await using _others = burners(2 * availableParallelism())
  await using home = await ThrowAwayHome.make()
  const limits = { yields: true }
  const mine = await launch(await home.program({ file: process.execPath, args: ['-e', 'for (;;);'], limits }))
  meetOthers(group)
  expect(await settingOf(group, 'cpu.idle')).toBe('1')
  await expect
    .poll(async () => {
      group.look()
      return settingOf(group, 'cpu.idle')
    })
    .toBe('0')
  await mine.stop(0)
})

test.runIf(process.platform === 'linux')('a process that gives way is in the group where it can be', async () => {
  await using part = await Part.start()
  const canJoin = hasGroup && hierarchy?.version === 1
  if (canJoin) expect(await groupsOf(part.pid)).toMatch(new RegExp(`cpu[^:]*:.*/atelier-${part.pid}-\\d+\n`))
  else expect(getPriority(part.pid)).toBe(10)
})

test.runIf(process.platform === 'linux')('a process of an ordinary user gives way by its priority', async () => {
  await using home = await ThrowAwayHome.make()
  await using part = await Part.start(home.buildUser)
  expect(getPriority(part.pid)).toBe(10)
  // Where the kernel schedules sessions as groups, it goes by the session's own priority.
  const session = `/proc/${part.pid}/autogroup`
  if (existsSync(session)) expect(await readFile(session, 'utf8')).toContain('nice 10')
})

/** A part of the platform that gives way, in a session of its own. */
class Part {
  readonly pid: number
  readonly #child: ChildProcess
  readonly #folder: string

  static async start(user: SandboxUser | null = null): Promise<Part> {
    const folder = await mkdtemp(join(tmpdir(), 'atl-yield-'))
    await chmod(folder, 0o755)
    const script = join(folder, 'part.ts')
    await writeFile(
      script,
      `import { giveWay } from '${join(import.meta.dirname, 'yielding-group.ts')}'
       giveWay({ log: { warn: (...said) => console.error(...said) } })
       console.log('gives way')
       setInterval(() => undefined, 1000)`,
    )
    const { uid = null, gid = null } = user ?? {}
    const as = uid === null || gid === null ? {} : { uid, gid }
    const child = spawn(process.execPath, [script], { detached: true, stdio: ['ignore', 'pipe', 'inherit'], ...as })
    await once(child.stdout, 'data')
    return new Part(child, folder)
  }

  private constructor(child: ChildProcess, folder: string) {
    this.pid = child.pid ?? 0
    this.#child = child
    this.#folder = folder
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await end(this.#child)
    await rm(this.#folder, { recursive: true })
  }
}

const settingOf = async (group: YieldingGroup, file: string) =>
  (await readFile(join(group.folder, file), 'utf8')).trim()

/** As if half of the processor had gone to others since the last look. */
function meetOthers(group: YieldingGroup): void {
  const now = group.times()
  group.look(now)
  group.look({ ...now, all: now.all + 0.02, free: now.free + 0.01 })
}

function burners(count: number) {
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  return {
    [Symbol.asyncDispose]: async () => void (await Promise.all(children.map(end))),
  }
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
