import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createDeployment } from '../registry/deployments.ts'
import { TestWorker } from '../test/support/build-worker.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

const page = { 'index.html': 'hi' }

test('hooks of a build and preDeploy are told what they are part of, before anything is verified', async () => {
  const app = await worker.createApp()
  const facts = 'echo "$APP_ID $VERSION ($PREVIOUS_VERSION) $ENVIRONMENT $URL"'
  const hooks = { preBuild: facts, postBuild: facts, preDeploy: facts }
  const { deployment: before } = await worker.deploy(app, page)
  const { deployment, log } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(deployment.stateReason).toBeNull()
  const said = `       ${app} ${deployment.version} (${before.version}) production http://${app}.apps.localhost:8080`
  expect(log.filter((line) => line === said)).toHaveLength(3)
  const at = (text: string) => log.findIndex((line) => line.includes(text))
  expect(at('Hook        preBuild')).toBeLessThan(at('Hook        postBuild'))
  expect(at('Hook        postBuild')).toBeLessThan(at('Hook        preDeploy'))
  expect(at('Hook        preDeploy')).toBeLessThan(at('Verifying'))
})

test('preDeploy sees what is for run time only and what is installed, masked, and a build hook does not', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { RUN_TOKEN: 'only-at-run-time' }, { runtimeOnly: true })
  const hooks = { preBuild: 'echo "build [$RUN_TOKEN]"', preDeploy: 'echo "deploy $RUN_TOKEN $NODE_ENV"' }
  const { log } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(log).toContain('       build []')
  expect(log).toContain('       deploy [RUN_TOKEN] production')
})

test('preDeploy that fails keeps the version from its users, whether it is built or was built before', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { MAY: 'yes' })
  const files = {
    ...page,
    'check.sh': '#!/bin/sh\necho "may: $MAY"; test "$MAY" = yes',
    'atelier.config.json': { hooks: { preDeploy: 'check.sh' } },
  }
  const { deployment: live } = await worker.deploy(app, files)
  expect(live.state).toBe('live')

  await worker.setEnv(app, { MAY: 'no' })
  const { deployment: refused } = await worker.deploy(app, files)
  expect(refused).toMatchObject({
    state: 'failed',
    errorCode: 'HOOK_FAILED',
    stateReason: 'hook preDeploy exited with 1',
  })

  const again = await createDeployment(worker.deps.sql, {
    app,
    target: live,
    version: live.version,
    source: 'redeploy',
    by: 'test',
    sourceKey: live.sourceKey,
    buildId: live.buildId,
  })
  const { deployment: notAgain, log } = await worker.build(again)
  expect(notAgain).toMatchObject({ state: 'failed', errorCode: 'HOOK_FAILED' })
  expect(log).toContain('       may: no')
  expect((await worker.read(live)).deployment.state).toBe('live')
})

test('W3: a hook that hangs is ended with all it started, and the push says so', async () => {
  const app = await worker.createApp()
  const mark = `1000.${Math.random().toString().slice(2, 12)}`
  const hooks = { preDeploy: `setsid sleep ${mark} & sleep ${mark}`, timeoutSec: 1 }
  const { deployment } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(deployment).toMatchObject({
    state: 'failed',
    stateReason: 'hook preDeploy did not end within 1 s (hooks.timeoutSec)',
  })
  expect(await running(mark)).toEqual([])
})

test('B5: what a hook leaves in the background is gone when it ends, before the next one runs', async () => {
  const app = await worker.createApp()
  const mark = `1000.${Math.random().toString().slice(2, 12)}`
  const count = `grep -lzx 's[l]eep' /proc/[0-9]*/cmdline 2>/dev/null | wc -l`
  const leave = `setsid sleep ${mark} > /dev/null 2>&1 & (nohup sleep ${mark} > /dev/null 2>&1 &); until test $(${count}) -ge 2; do :; done; echo "behind me: $(${count})"`
  const hooks = { preBuild: leave, preDeploy: `echo "found: $(${count})"` }
  const { deployment, log } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(deployment.stateReason).toBeNull()
  expect(log.filter((line) => /^ +behind me: 2$/.test(line))).toHaveLength(1)
  expect(log.find((line) => /^ +found: /.test(line))).toMatch(/found: 0$/)
  expect(await running(mark)).toEqual([])
})

test('B8: what postBuild puts into the output is looked at like everything else there', async () => {
  const hooks = { postBuild: 'ln -s /etc/passwd dist/passwd' }
  const build = { script: 'mkdir dist && echo hi > dist/index.html' }
  const { deployment } = await worker.deploy(await worker.createApp(), { 'atelier.config.json': { build, hooks } })
  expect(deployment).toMatchObject({
    state: 'failed',
    errorCode: 'OUTPUT_INVALID',
    stateReason: expect.stringContaining('passwd is a symlink to "/etc/passwd"'),
  })
})

test('B10: what hooks print is masked and made safe, over line ends too', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { TOKEN: 'correct-horse-battery' })
  const say = 'printf "\\033[2Jit is $TOKEN\\n"; echo $TOKEN | fold -w 11'
  const hooks = { preBuild: say, postBuild: say, preDeploy: say }
  const { deployment, log } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(deployment.stateReason).toBeNull()
  expect(log.filter((line) => line === '       it is [TOKEN]')).toHaveLength(3)
  expect(log.filter((line) => line === '       [TOKEN]')).toHaveLength(6)
  expect(log.join('\n')).not.toMatch(/correct|battery|\x1b/)
})

test('a variable of the app’s own that a hook’s would hide is named', async () => {
  const app = await worker.createApp()
  await worker.setEnv(app, { VERSION: 'mine' })
  const hooks = { preDeploy: 'echo "it is $VERSION"' }
  const { deployment, log } = await worker.deploy(app, { ...page, 'atelier.config.json': { hooks } })
  expect(log).toContain(`       it is ${deployment.version}`)
  expect(log.join('\n')).toContain('VERSION: hooks get the platform’s value, not the app’s own of that name')
})

test('W3: what a branch is called reaches a hook as a value, and a hook cannot read the platform’s files', async () => {
  const app = await worker.createApp()
  const branch = 'x;touch$IFS-a$(id)'
  const secret = join(worker.home, 'secret')
  await writeFile(secret, 'of the platform', { mode: 0o644 })
  expect(await readFile(secret, 'utf8')).toBe('of the platform')
  const hooks = {
    preDeploy: `echo "on $ATELIER_BRANCH"; cat ${secret} || echo closed; ls -a`,
  }
  const { log } = await worker.build(await worker.push(app, { ...page, 'atelier.config.json': { hooks } }, { branch }))
  expect(log).toContain(`       on ${branch}`)
  expect(log).toContain('       closed')
  expect(log.join()).not.toContain('of the platform')
  expect(log).not.toContain('       -a')
})

/** The commands on this machine that have the mark in them. */
async function running(mark: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
  // A process that ends while it is looked at has no command.
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return commands.filter((command) => command.includes(mark))
}
