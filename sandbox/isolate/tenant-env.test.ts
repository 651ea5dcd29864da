import { chmod, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ThrowAwayHome } from '../throw-away-home.ts'
import { tryWalls } from '../walls.ts'

const isRoot = process.getuid?.() === 0
const home = await ThrowAwayHome.make()
const walls = await tryWalls(home.buildUser)

/** Programs that the dynamic linker says it started with these variables. */
function startedPrograms(linkerLog: string): string[] {
  return [...linkerLog.matchAll(/initialize program: (\S+)/g)].map(([, program]) => program?.split('/').at(-1) ?? '')
}

describe.each(walls)('I6: variables of a tenant behind $name', (confining) => {
  test('what steers the dynamic linker steers no program that builds the walls', async () => {
    const cat = { file: '/bin/cat', args: ['/dev/null'], limits: { processes: 64, timeoutMs: 30_000 } }
    const { exit, stderr } = await home.run({ ...cat, env: { LD_DEBUG: 'files' } }, confining)
    expect(exit.code).toBe(0)
    // As root the weaker walls drop such names; an ordinary user's wrappers run as that user with or without them.
    const isNamed = confining.name === 'bubblewrap' || (!isRoot && confining.name !== 'bubblewrap as root')
    if (isNamed) expect(startedPrograms(stderr)).toContain('cat')
    if (isRoot || confining.name === 'bubblewrap')
      expect(
        startedPrograms(stderr).filter((name) => ['bwrap', 'unshare', 'nsenter', 'setpriv'].includes(name)),
      ).toEqual([])
  })

  test('PATH chooses what the tenant starts, and nothing the launcher does', async () => {
    const names = ['sh', 'setpriv', 'unshare', 'bwrap', 'prlimit', 'nsenter', 'env', 'node']
    const script = '#!/bin/sh\necho "$0 $*" >> "$HOME/called"\n'
    const folder = await home.folder(`own-${confining.name.replaceAll(/\W/g, '-')}`)
    const bin = await home.folder(
      join(folder.slice(home.path.length + 1), 'bin'),
      Object.fromEntries(names.map((name) => [name, script])),
    )
    for (const name of names) await chmod(join(bin, name), 0o755)
    const env = { PATH: bin, HOME: folder }
    const program = { file: '/bin/sh', args: ['-c', 'echo up; node --version'], cwd: folder, env }
    const { stdout } = await home.run(program, confining)
    expect(stdout).toBe('up\n')
    expect(await readFile(join(folder, 'called'), 'utf8')).toBe(`${join(bin, 'node')} --version\n`)
  })

  test('NODE_OPTIONS reaches the program and what it starts itself', async () => {
    const folder = await home.folder(`options-${confining.name.replaceAll(/\W/g, '-')}`, {
      'evil.cjs': `require('fs').appendFileSync(__dirname + '/ran', process.argv[1] + '\\n')`,
      'app.cjs': `console.log('up')`,
    })
    const env = { PATH: '/usr/bin:/bin', NODE_OPTIONS: `--require=${join(folder, 'evil.cjs')}` }
    const program = { file: process.execPath, args: [join(folder, 'app.cjs')], cwd: folder, env }
    expect((await home.run(program, confining)).stdout).toBe('up\n')
    expect(await readFile(join(folder, 'ran'), 'utf8')).toBe(`${join(folder, 'app.cjs')}\n`)
  })
})
