import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { access, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { run } from './support/command.ts'
import { expectSoundHistory, type SeenPush } from './support/history.ts'
import { connectToHome } from './support/platform-database.ts'
import { killAll, processesOf } from './support/processes.ts'
import { atOnce } from './support/repo.ts'

// F4: kill -9 of the gateway, or of the program through which git asks it, at five points of a push.

const points = ['upload', 'pre-receive', 'proc-receive', 'row', 'ref'] as const
type Point = (typeof points)[number]

// A git before git: it stops at a point that is closed, as long as the gateway lives, and then is git.
const scratch = mkdtempSync(join(tmpdir(), 'gates-'))
mkdirSync(join(scratch, 'bin'))
writeFileSync(
  join(scratch, 'bin/git'),
  `#!/bin/sh
stop_at() {
  [ -e "${scratch}/$1" ] || return 0
  : > "${scratch}/$1.reached"
  while [ -e "${scratch}/$1" ] && kill -0 "$PPID" 2> /dev/null; do sleep 0.02; done
}
real=$(PATH="\${PATH#${scratch}/bin:}" command -v git)
case " $* " in
  *' receive-pack --stateless-rpc /'*) stop_at upload ;;
  *' ls-tree '*) stop_at pre-receive ;;
  *' archive '*) stop_at proc-receive ;;
  *' update-ref '*) "$real" "$@" || exit; stop_at ref; exit ;;
esac
exec "$real" "$@"
`,
  { mode: 0o755 },
)
test.override('platformEnv', { PATH: `${scratch}/bin:${process.env.PATH}` })
afterAll(() => rmSync(scratch, { recursive: true }))

const cases = points.flatMap((point) => (['gateway', 'hook'] as const).map((victim) => ({ point, victim })))
const seen: SeenPush[] = []

test.for(cases)(
  'F4: kill -9 of the $victim at the point "$point" of a push',
  async ({ point, victim }, { atelier }) => {
    const app = await atelier.createApp(`at-${point}-${victim}`)
    const repo = await atelier.clone(app)
    const one = await repo.commit({ 'index.html': 'one' })
    await repo.push(atOnce)
    seen.push({ app: app.name, ref: 'refs/heads/main', sha: one })

    // Too large for a pipe, so that the upload is not over when it is stopped.
    const two = await repo.commit({ 'index.html': 'two', 'noise.bin': randomBytes(3_000_000), ...slowBuild(point) })
    const isInserted = point === 'row' || point === 'ref'
    await close(point)
    const pushing = repo.tryPush(atOnce)
    await isReached(atelier, point, two)
    if (victim === 'gateway') await atelier.kill('gateway')
    else killHook(atelier, point)
    const { code, stderr } = await pushing
    expect(code, stderr).not.toBe(0)
    await open(point)
    await expect.poll(() => atelier.platform.pidOf('gateway'), { timeout: 60_000 }).not.toBeNull()

    if (isInserted) {
      await expect.poll(async () => (await atelier.get(app, '/')).body, { timeout: 30_000 }).toContain('two')
      await expect.poll(() => refOf(atelier, app.name)).toBe(two)
    } else {
      await expect.poll(() => gitsOf(atelier), { timeout: 60_000 }).toEqual([])
      expect(await rowsOf(atelier, two)).toBe(0)
      expect(await refOf(atelier, app.name)).toBe(one)
      expect((await atelier.get(app, '/')).body).toContain('one')
    }
    await expect.poll(async () => (await repo.tryPush(atOnce)).code, { timeout: 60_000 }).toBe(0)
    seen.push({ app: app.name, ref: 'refs/heads/main', sha: two })

    await expect.poll(() => gitsOf(atelier), { timeout: 60_000 }).toEqual([])
    // What was not taken then is not taken later either: the one row is that of the second push.
    if (!isInserted) expect(await rowsOf(atelier, two)).toBe(1)
    await expectSoundHistory(atelier, seen)
    const checked = await run('git', ['--git-dir', repositoryOf(atelier, app.name), 'fsck', '--strict'], {
      cwd: '/',
      env: { PATH: process.env.PATH },
    })
    expect(checked).toMatchObject({ code: 0, stderr: '' })
  },
)

function slowBuild(point: Point): Record<string, string> {
  if (point !== 'row') return {}
  return {
    'atelier.config.ts': "export default { build: { script: 'build.sh', output: 'dist' } }\n",
    'build.sh': '#!/bin/sh\nset -e\necho begun\nsleep 5\nmkdir -p dist\ncp index.html dist/\n',
  }
}

async function close(point: Point): Promise<void> {
  await rm(join(scratch, `${point}.reached`), { force: true })
  if (point !== 'row') await writeFile(join(scratch, point), '')
}

async function open(point: Point): Promise<void> {
  await rm(join(scratch, point), { force: true })
}

async function isReached(atelier: Atelier, point: Point, sha: string): Promise<void> {
  const isThere = () =>
    access(join(scratch, `${point}.reached`)).then(
      () => true,
      () => false,
    )
  await expect.poll(() => (point === 'row' ? isBuilding(atelier, sha) : isThere()), { timeout: 60_000 }).toBe(true)
}

async function isBuilding(atelier: Atelier, sha: string): Promise<boolean> {
  const sql = await connectToHome(atelier.home)
  try {
    const begun = await sql`
      select
      from build_log_lines l
      join deployments d on d.id = l.deployment_id
      where d.git_sha = ${sha}
        and l.text like '%begun%'
    `
    return begun.length > 0
  } finally {
    await sql.end()
  }
}

async function rowsOf(atelier: Atelier, sha: string): Promise<number> {
  const sql = await connectToHome(atelier.home)
  try {
    return (await sql`select from deployments where git_sha = ${sha}`).length
  } finally {
    await sql.end()
  }
}

// Before any hook runs there is only git itself; the second hook has become two cats.
function killHook(atelier: Atelier, point: Point): void {
  const name = { upload: / receive-pack /, 'pre-receive': /hooks\/pre-receive/ }[point as string] ?? /^cat$/
  const found = gitsOf(atelier).filter(({ command }) => name.test(command))
  expect(found).not.toEqual([])
  killAll(found.map(({ pid }) => pid))
}

function gitsOf(atelier: Atelier) {
  return processesOf(join(atelier.home, 'git'))
}

async function refOf(atelier: Atelier, app: string): Promise<string> {
  const args = ['--git-dir', repositoryOf(atelier, app), 'rev-parse', 'refs/heads/main']
  return (await run('git', args, { cwd: '/', env: { PATH: process.env.PATH } })).stdout.trim()
}

function repositoryOf({ home }: Atelier, app: string): string {
  return join(home, 'git', `${app}.git`)
}
