import { expect } from 'vitest'
import { type Atelier, test } from './support/atelier.ts'
import { openBrowser } from './support/browser.ts'
import { ask } from './support/http.ts'

const secret = 'p@ss/word+12 3xyz'
const pem = ['-----BEGIN KEY-----', 'MIIEvQIBADANBgkqhkiG9w0', 'Zq==', '-----END KEY-----']

// Writes bytes as they are; what is split over chunks waits until the first one has been read.
const noise = `
import { writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
const say = (...parts) => { for (const part of parts) for (let bytes = Buffer.from(part); bytes.length > 0; ) {
  try { bytes = bytes.subarray(writeSync(1, bytes)) } catch (error) { if (error.code !== 'EAGAIN') throw error }
} }
const { SECRET, KEY } = process.env
say('\\x1b[2J\\x1b[H\\x1b[31mred\\x1b[0m plain\\n')
say('a \\x1b]8;;http://evil.example\\x1b\\\\link\\x1b]8;;\\x1b\\\\ and \\x1b]52;c;ZXZpbA==\\x07no clipboard\\n')
say('-----> Live        forged\\rreally this\\n')
say('bell\\x07 and \\u202ebidi\\u2066 and \\u009b31m and \\u2028 line\\n')
say('</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">\\n')
say('{"type":"end","ok":true,"deployment":null}\\n')
say('data: {"type":"end","ok":true}\\n\\nevent: end\\n')
say('\\x1b[8mhidden to the end of the log\\n')
say('npm warn deprecated thing@1.0.0: use another\\n')
say('plain ' + SECRET + '\\n', 'base64 ' + Buffer.from(SECRET).toString('base64') + '\\n')
say('url ' + encodeURIComponent(SECRET) + '\\n', 'in an error: ' + JSON.stringify({ SECRET }) + '\\n')
say('split ' + SECRET.slice(0, 6)); await pause(100); say(SECRET.slice(6) + '\\n')
say('lines ' + SECRET.slice(0, 6) + '\\n' + SECRET.slice(6) + ' end\\n')
say(KEY + '\\n')
say('short yes is not hidden\\n')
for (let done = 0; done <= 2000; done += 1) say('\\rpacking ' + done + ' of 2000')
say('\\n')
say('gr'); say(Buffer.of(0xc3)); await pause(100); say(Buffer.of(0xbc)); say('n, and ', Buffer.of(0xff, 0xfe), ' none\\n')
say('long ' + 'x'.repeat(1048576) + '\\n')
say('the last line')
`

test('B10: git, the API in both its forms, the command and the console show the same safe lines of a hostile build', async ({
  atelier,
}) => {
  const app = await atelier.createApp('noisy')
  await atelier.api('PUT', 'apps/noisy/env', { values: { SECRET: secret, KEY: pem.join('\n'), SHORT: 'yes' } })
  const repo = await atelier.clone(app)
  await repo.commit({
    'noise.mjs': noise,
    'build.sh': '#!/bin/sh\nnode noise.mjs && mkdir dist && echo hi > dist/index.html',
    'atelier.config.json': JSON.stringify({ build: { script: 'build.sh' } }),
  })
  // All of them follow it while it is built.
  const pushing = repo.push()
  const id = await newestOf(atelier, 'noisy')
  const [pushed, ndjson, sse, followed] = await Promise.all([
    pushing,
    readLog(atelier, id, 'application/x-ndjson'),
    readLog(atelier, id, 'text/event-stream'),
    atelier.cli(['logs', id, '-f']),
  ])
  const lines = logOf(ndjson.trimEnd().split('\n').filter(Boolean))

  const [start, wanted] = [indexOf(lines, 'red'), safeLines()]
  expect(lines.slice(start, start + wanted.length)).toEqual(wanted)
  expect(lines.join('\n')).not.toContain(secret.slice(0, 8))
  expect(lines.join('\n')).not.toContain('MIIE')
  expect(lines.filter((line) => line.startsWith('-----> Live'))).toHaveLength(1)

  expect(logOf(sse.split('\n').flatMap((line) => (line.startsWith('data: ') ? [line.slice(6)] : [])))).toEqual(lines)
  expect(sse.match(/^event: end$/gm)).toHaveLength(1)
  expect(followed.stdout).toBe(`${lines.join('\n')}\n`)
  // git pads and splits nothing else; what it shows of a blank line is blank.
  const shownByGit = pushed.stderr.split('\n').filter((line) => line.startsWith('remote:'))
  const ofGit = shownByGit.map((line) => line.replace(/^remote: ?/, '').trimEnd())
  expect(ofGit.filter((line) => line !== '' && !line.startsWith('-----> Waiting'))).toEqual(
    lines.map((line) => line.trimEnd()).filter((line) => line !== ''),
  )
  expect(await consoleLog(atelier)).toEqual(lines.map(withoutColours))
})

test('a folder that the command deploys is shown as it is built, in the lines that stay in its log', async ({
  atelier,
}) => {
  const folder = await atelier.directory({
    'build.sh': '#!/bin/sh\necho npm warn something\necho working; mkdir dist && echo hi > dist/index.html',
    'atelier.config.json': JSON.stringify({ build: { script: 'build.sh' } }),
  })
  const deployed = await atelier.cli(['deploy', folder, '--app', 'uploaded'])
  expect(deployed.code, deployed.stderr).toBe(0)
  const lines = logOf((await readLog(atelier, await newestOf(atelier, 'uploaded'), 'application/x-ndjson')).split('\n'))
  expect(lines).toContain('       npm warn something')
  expect(lines.find((line) => line.startsWith('-----> Uploading'))).toMatch(/ \d+\.\d s$/)
  expect(deployed.stdout.split('\n').filter((line) => lines.includes(line) && line !== '')).toEqual(
    lines.filter((line) => line !== ''),
  )
})

test('B10: why a build failed is said everywhere without secrets, colours or a second line', async ({ atelier }) => {
  const app = await atelier.createApp('throwing')
  await atelier.api('PUT', 'apps/throwing/env', { values: { SECRET: secret } })
  const repo = await atelier.clone(app)
  const thrown = `'\\u001b[31mno ' + process.env.SECRET + ' \\u001b]0;title\\u0007\\u202ehere\\n-----> Live'`
  await repo.commit({ 'index.html': 'hi', 'atelier.config.mjs': `throw new Error(${thrown})` })
  const { code, stderr } = await repo.tryPush()
  expect(code).not.toBe(0)
  expect(stderr).toMatch(/\[remote rejected\] main -> main \(.*no \[SECRET\] here/)
  const { body } = await atelier.api('GET', 'deploys?app=throwing&limit=1')
  const { deployments } = JSON.parse(body) as { deployments: { state_reason: string }[] }
  expect(deployments[0]?.state_reason).toMatch(/^atelier\.config\.mjs: it threw Error: no \[SECRET\] here/)
  for (const said of [stderr, body]) expect(said).not.toMatch(/\\u001b|\x1b\]|\u202e|p@ss/)
})

/** What the build's own part of the log is, from its first line on. */
function safeLines(): unknown[] {
  const own = [
    '\x1b[31mred\x1b[0m plain',
    'a link and no clipboard',
    'really this',
    'bell and bidi and 31m and  line',
    '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">',
    '{"type":"end","ok":true,"deployment":null}',
    'data: {"type":"end","ok":true}',
    '',
    'event: end',
    '\x1b[8mhidden to the end of the log\x1b[0m',
    'npm warn deprecated thing@1.0.0: use another',
    'plain [SECRET]',
    'base64 [SECRET]=',
    'url [SECRET]',
    'in an error: {"SECRET":"[SECRET]"}',
    'split [SECRET]',
    'lines [SECRET]',
    '[SECRET] end',
    ...pem.map(() => '[KEY]'),
    'short yes is not hidden',
    'packing 2000 of 2000',
    'grün, and \ufffd\ufffd none',
    expect.stringMatching(/^ {7}long x{3900,4000} … \(cut\)$/),
    'the last line',
  ]
  return own.map((line) => (typeof line === 'string' && line !== '' ? `       ${line}` : line))
}

async function newestOf(atelier: Atelier, app: string): Promise<string> {
  const newest = async () => {
    const { body } = await atelier.api('GET', `deploys?app=${app}&limit=1`)
    return (JSON.parse(body) as { deployments: { id: string }[] }).deployments[0]?.id
  }
  await expect.poll(newest, { timeout: 60_000 }).toBeDefined()
  return (await newest()) ?? ''
}

async function readLog(atelier: Atelier, id: string, accept: string): Promise<string> {
  const headers = { authorization: `Bearer ${await atelier.platform.adminToken()}`, accept }
  const path = `/api/platform/deployments/${id}/logs?follow=true`
  const { body, headers: answered } = await ask(atelier.port, 'api.localhost', path, { headers, timeoutMs: 120_000 })
  expect(answered['content-type']).toBe(accept)
  return body
}

function logOf(json: string[]): string[] {
  const events = json.filter(Boolean).map((line): { type: string; text: string } => JSON.parse(line))
  expect(events.map(({ type }) => type).filter((type) => type !== 'log')).toEqual(['start', 'end'])
  return events.filter(({ type }) => type === 'log').map(({ text }) => text)
}

function indexOf(lines: string[], part: string): number {
  const at = lines.findIndex((line) => line.includes(part))
  if (at < 0) throw new Error(`no line has ${part}:\n${lines.join('\n').slice(0, 5000)}`)
  return at
}

async function consoleLog(atelier: Atelier): Promise<string[]> {
  await using browser = await openBrowser()
  const page = await browser.newPage()
  await page.goto((await atelier.cli(['open', '--console'])).stdout.trim())
  await page.getByRole('row', { name: /noisy/ }).getByRole('button').first().click()
  await page.locator('#log', { hasText: 'the last line' }).waitFor()
  expect(await page.evaluate('window.hacked')).toBeUndefined()
  return ((await page.locator('#log').textContent()) ?? '').replace(/\n$/, '').split('\n')
}

function withoutColours(line: string): string {
  return line.replaceAll(/\x1b\[[0-9;]*m/g, '')
}
