import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { copyCheckout } from '../test/support/checkout-copy.ts'
import { prepareRuntime, type Runtime, stageScript } from './runtime.ts'
import { ThrowAwayHome } from './throw-away-home.ts'

const run = promisify(execFile)
const isRoot = process.getuid?.() === 0
const checkout = join(import.meta.dirname, '..')

test('what a sandbox user needs can be run by it', async () => {
  await using home = await ThrowAwayHome.make()
  const runtime = await prepareRuntime(home.path)
  await expectRuns(home, runtime)
  expect((await stat(join(home.path, 'runtime'))).mode & 0o777).toBe(0o711)
})

test('a checkout that others cannot read is copied, once, however many prepare', async () => {
  await using home = await ThrowAwayHome.make()
  await using closed = await closedCheckout()
  const runtimes = await Promise.all(Array.from({ length: 3 }, () => prepareFrom(closed.path, home.path)))
  const [runtime] = runtimes
  if (!runtime) throw new Error('no runtime')
  expect(runtimes).toEqual([runtime, runtime, runtime])
  for (const path of [runtime.node, runtime.npmCli, runtime.modules]) {
    expect(path.startsWith(isRoot ? `${home.path}/runtime/` : closed.path)).toBe(true)
  }
  await expectRuns(home, runtime)
  const left = await readdir(join(home.path, 'runtime'))
  expect(left.filter((name) => name.startsWith('.'))).toEqual([])
  expect(left).toHaveLength(isRoot ? 4 : 2)
})

test('a home that others cannot reach is refused with the folder that closes it', async () => {
  const folder = await mkdtemp(join(await realpath(tmpdir()), 'atl-'))
  const home = join(folder, 'home')
  await mkdir(home)
  await chmod(folder, 0o700)
  const prepared = prepareRuntime(home)
  if (isRoot)
    await expect(prepared).rejects.toMatchObject({ code: 'HOME_UNUSABLE', message: expect.stringContaining(folder) })
  else expect((await prepared).bin).toContain(home)
  await rm(folder, { recursive: true })
})

test('a script is staged without its types', async () => {
  await using home = await ThrowAwayHome.make()
  const script = join(home.path, 'greet.ts')
  await writeFile(script, `const name: string = process.argv[2] ?? ''\nconsole.log('hello ' + name)\n`)
  const staged = await stageScript(home.path, script)
  expect(await stageScript(home.path, script)).toBe(staged)
  const { stdout } = await home.run({
    file: process.execPath,
    args: [staged, 'you'],
    readable: [process.execPath, staged],
  })
  expect(stdout).toBe('hello you\n')
})

async function expectRuns(home: ThrowAwayHome, { node, bin, npmCli, modules, boot, paths }: Runtime): Promise<void> {
  const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: '/nonexistent', npm_config_update_notifier: 'false' }
  const versions = await home.run({ file: '/usr/bin/env', args: ['node', '--version'], env, readable: paths })
  expect(versions.stdout).toBe(`${process.version}\n`)
  for (const [file, ...args] of [
    [node, npmCli, '--version'],
    [join(bin, 'npm'), '--version'],
    [join(bin, 'npx'), '--version'],
  ]) {
    const { stdout, exit, stderr } = await home.run({ file: file ?? '', args, env, readable: paths })
    expect({ stdout, code: exit.code, stderr }).toMatchObject({ stdout: expect.stringMatching(/^11\./), code: 0 })
  }
  const bundle = await home.run({
    file: node,
    args: [
      '-e',
      `require('${modules}/esbuild').transform('a?.b', { target: 'es2019' }).then(({ code }) => console.log(code))`,
    ],
    env,
    readable: paths,
  })
  expect(bundle.stdout).toContain('void 0')
  expect((await home.run({ file: node, args: ['--check', boot], readable: paths })).exit.code).toBe(0)
}

// The folder alone is closed.
async function closedCheckout() {
  const path = await mkdtemp(join(await realpath(tmpdir()), 'atl-'))
  await copyCheckout(checkout, ['sandbox', 'registry', 'package.json', 'node_modules'], path)
  await chmod(path, 0o700)
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

async function prepareFrom(folder: string, home: string): Promise<Runtime> {
  const node = join(folder, 'node_modules', '.bin', 'node')
  const source = `
    const { prepareRuntime } = await import(${JSON.stringify(join(folder, 'sandbox', 'runtime.ts'))})
    console.log(JSON.stringify(await prepareRuntime(${JSON.stringify(home)})))`
  const { stdout } = await run(node, ['--input-type=module', '-e', source], { env: { PATH: '/usr/bin:/bin' } })
  return JSON.parse(stdout)
}
