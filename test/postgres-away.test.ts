import { readdirSync, readFileSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { expectSoundHistory } from './support/history.ts'
import { atOnce } from './support/repo.ts'

// F6: Postgres is stopped with all its connections (nothing is refused, nothing answers), or killed.

test('F6, F1: with a Postgres that hangs, apps are served, also by a proxy that starts anew, and everything else says so within five seconds', async ({
  atelier,
}) => {
  const repo = await atelier.clone(await atelier.createApp('hello'))
  const one = await repo.commit({ 'index.html': 'one' })
  await repo.push(atOnce)
  const usual = await timed(Promise.all([repo.git('ls-remote', 'atelier'), atelier.cli(['status'])]))
  const two = await repo.commit({ 'index.html': 'two' })

  const processes = await postgresProcesses(atelier)
  for (const pid of processes) process.kill(pid, 'SIGSTOP')
  try {
    const [pushed, status] = await Promise.all([timed(repo.tryPush(atOnce)), timed(atelier.cli(['status']))])
    expect(pushed.result).toMatchObject({
      code: 128,
      stderr: expect.stringContaining('remote: The database of Atelier does not answer just now.'),
    })
    expect(status.result).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^atelier: the database does not answer just now; .*\n$/),
    })
    for (const { tookMs } of [pushed, status]) expect(tookMs).toBeLessThan(Math.max(6_500, 5_000 + 5 * usual.tookMs))

    expect((await atelier.get('hello', '/')).body).toBe('one')
    await atelier.kill('proxy')
    await expect.poll(() => bodyOf(atelier, 'hello')).toBe('one')
  } finally {
    for (const pid of processes) process.kill(pid, 'SIGCONT')
  }

  await expect.poll(async () => (await repo.tryPush(atOnce)).code, { timeout: 10_000 }).toBe(0)
  // At once: before the edge compares by itself.
  await expect.poll(() => bodyOf(atelier, 'hello'), { interval: 20, timeout: 4_500 }).toBe('two')
  await expectSoundHistory(
    atelier,
    [one, two].map((sha) => ({ app: 'hello', ref: 'refs/heads/main', sha })),
  )
  await expectQuietLogs(atelier)
})

test('F6: a Postgres that is killed is started again, and pushes go live at once as before', async ({ atelier }) => {
  const repo = await atelier.clone(await atelier.createApp('again'))
  await repo.commit({ 'index.html': 'one' })
  const usual = await timed(repo.push(atOnce))
  const [postmaster = 0] = await postgresProcesses(atelier)
  process.kill(postmaster, 'SIGKILL')
  await repo.commit({ 'index.html': 'two' })
  await expect.poll(async () => (await repo.tryPush(atOnce)).code, { timeout: 15_000 }).toBe(0)

  // The notifications are heard again: nothing waits for a sweep.
  await repo.commit({ 'index.html': 'three' })
  const { result, tookMs } = await timed(repo.tryPush(atOnce))
  expect(result.code).toBe(0)
  expect(tookMs).toBeLessThan(Math.max(5_000, 3 * usual.tookMs))
  await expectSoundHistory(atelier, [])
  await expectQuietLogs(atelier)
})

async function bodyOf(atelier: Atelier, app: string): Promise<string> {
  return (await atelier.get(app, '/').catch(() => ({ body: '' }))).body
}

async function timed<T>(work: Promise<T>): Promise<{ result: T; tookMs: number }> {
  const startedAt = performance.now()
  return { result: await work, tookMs: performance.now() - startedAt }
}

/** The postmaster, and then all it started. */
async function postgresProcesses({ home }: Atelier): Promise<number[]> {
  const [line = ''] = (await readFile(join(home, 'postgres/postmaster.pid'), 'utf8')).split('\n')
  const parentOf = (pid: string) => {
    try {
      // proc(5): after the name in parentheses come the state and the parent.
      return readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) . /s, '')
        .split(' ')[0]
    } catch {
      return null // it has ended
    }
  }
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === line)
  return [line, ...children].map(Number)
}

// A role that asks without a pause would have written megabytes by now.
async function expectQuietLogs({ home }: Atelier): Promise<void> {
  for (const name of await readdir(join(home, 'log')))
    expect((await stat(join(home, 'log', name))).size, name).toBeLessThan(500_000)
}
