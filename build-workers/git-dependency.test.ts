import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'
import { run } from '../test/support/command.ts'
import { type Files, writeFiles } from '../test/support/repo.ts'

// A foreign git host, as plain files over HTTP.
const repositories = await mkdtemp(join(tmpdir(), 'git-host-'))
const host = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://host').pathname))
  readFile(join(repositories, path)).then(
    (bytes) => response.end(bytes),
    () => response.writeHead(404).end(),
  )
})
await new Promise<void>((listening) => host.listen(0, '127.0.0.2', () => listening()))
const address = `127.0.0.2:${(host.address() as AddressInfo).port}`
const worker = await TestWorker.start({ ATELIER_EGRESS_ALLOW: address })
afterAll(async () => {
  await worker[Symbol.asyncDispose]()
  host.close()
  await rm(repositories, { recursive: true })
})

async function publish(name: string, files: Files): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'git-work-'))
  const env = { PATH: process.env.PATH, HOME: work, GIT_CONFIG_NOSYSTEM: '1' }
  const git = async (...args: string[]) => {
    const { code, stderr } = await run('git', args, { cwd: work, env })
    if (code !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  }
  await writeFiles(work, files)
  await git('init', '--quiet', '--initial-branch=main')
  await git('add', '--all')
  await git('-c', 'user.name=M', '-c', 'user.email=m@example.com', 'commit', '--quiet', '-m', 'one')
  await git('clone', '--quiet', '--bare', '.', join(repositories, `${name}.git`))
  await git('--git-dir', join(repositories, `${name}.git`), 'update-server-info')
  await rm(work, { recursive: true })
  return `git+http://${address}/${name}.git`
}

test('B2: a git dependency that names its own git in .npmrc runs code in the sandbox, and nowhere else', async () => {
  const secret = join(worker.home, 'secret')
  await writeFile(secret, 'of the platform', { mode: 0o644 })
  const outside = await mkdtemp(join(tmpdir(), 'outside-'))
  const before = readdirSync(worker.home)
  // npm takes a program's path from `git=` of the folder it works in, with or without --ignore-scripts.
  const program = (who: string) => `#!/bin/sh
{
  echo "${who} ran as $(id -u)"
  cat ${secret} && echo read the secret
  touch ${outside}/canary ${worker.home}/canary /canary && echo left a canary
} >> "$HOME/said.txt" 2>&1
exec /usr/bin/git "$@"
`
  const nested = await publish('nested', { 'package.json': JSON.stringify({ name: 'nested', version: '1.0.0' }) })
  const evil = await publish('evil', {
    'package.json': JSON.stringify({
      name: 'evil',
      version: '1.0.0',
      scripts: { prepare: './own-git.sh --version' },
      dependencies: { nested },
    }),
    '.npmrc': 'git=./own-git.sh\n',
    'own-git.sh': program('the git of the dependency'),
  })
  const build = {
    'build.sh': '#!/bin/sh\ncat ~/said.txt; mkdir -p dist; echo hi > dist/index.html',
    'atelier.config.json': { build: { script: 'build.sh', output: 'dist' } },
  }
  const own = await worker.deploy(await worker.createApp(), {
    ...build,
    'package.json': { name: 'app', private: true, dependencies: { nested } },
    '.npmrc': 'git=./bin/git.sh\n',
    'bin/git.sh': program('the git of the app'),
  })
  const theirs = await worker.deploy(await worker.createApp(), {
    ...build,
    'package.json': { name: 'app', private: true, dependencies: { evil } },
  })
  const said = [...own.log, ...theirs.log].join('\n')
  for (const { deployment } of [own, theirs]) expect(deployment.stateReason, said).toBeNull()
  for (const who of ['the git of the app', 'the git of the dependency'])
    expect(said).toMatch(new RegExp(`${who} ran as (?!0$)\\d+$`, 'm'))
  expect(said).not.toContain('of the platform')
  expect(said).not.toContain('read the secret')
  expect(said).not.toContain('left a canary')
  expect(readdirSync(outside)).toEqual([])
  expect(readdirSync(worker.home)).not.toContain('canary')
  expect(before).not.toContain('canary')
  expect(existsSync('/canary')).toBe(false)
})
