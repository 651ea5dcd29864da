import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await mkdir(join(folder, 'routes'))
  const config = { extends: join(root, 'tsconfig.json'), include: ['routes/*.ts'] }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

// As `npm run check` does it.
async function compile(policy: string): Promise<{ code: number | null; stdout: string }> {
  const source = `import { route } from '${root}/registry/api/route.ts'
    export const newRoute = route({
      method: 'get', path: '/new', summary: 'New', ${policy}
      answers: {}, handle: async () => new Response(),
    })`
  await writeFile(join(folder, 'routes/new.ts'), source)
  const { status, stdout } = spawnSync(join(root, 'node_modules/.bin/tsc'), ['--noEmit', '--project', folder], {
    encoding: 'utf8',
  })
  return { code: status, stdout }
}

test('C1: a route without a policy, or with one that says nothing, fails npm run check', async () => {
  expect(await compile("policy: { action: 'read', on: 'own' },")).toEqual({ code: 0, stdout: '' })
  for (const wrong of [
    '',
    'policy: undefined,',
    'policy: {},',
    "policy: { action: 'read' },",
    "policy: { on: 'own' },",
  ]) {
    const { code, stdout } = await compile(wrong)
    expect(code, wrong).not.toBe(0)
    expect(stdout).toMatch(/policy|action|\bon\b/)
  }
})
