import { expect, onTestFinished } from 'vitest'
import type { Atelier } from './atelier.ts'
import { Forge, type Hook } from './forge.ts'
import { ask } from './http.ts'

// Of this machine, and nobody else's in these tests.
const addresses = { github: '127.0.0.31', gitea: '127.0.0.32' }

/** An app that is linked to a repository at a new host, by the command, which makes the app. */
export async function linked(atelier: Atelier, kind: 'github' | 'gitea', app: string, ...options: string[]) {
  const forge = await Forge.start(kind, { at: addresses[kind] })
  onTestFinished(() => forge[Symbol.asyncDispose]())
  const args = ['repo', 'link', forge.url, '-a', app, '--host', kind, '--token', '-', '--json', ...options]
  const made = await atelier.cli(args, { input: 'token-of-the-host\n' })
  expect(made.stderr).toBe('')
  const { hook_url: url, secret } = JSON.parse(made.stdout)
  const send = async (headers: Record<string, string>, body: string) => {
    const answer = await ask(atelier.port, 'api.localhost', new URL(url).pathname, { method: 'POST', headers, body })
    return answer.status
  }
  const hook: Hook = { url, secret, send }
  const shown = async (host: string) => (await atelier.get(host, '/')).body.trim()
  return { forge, hook, shown }
}
