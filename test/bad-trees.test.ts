import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { test } from './support/atelier.ts'
import { atOnce, type Repo } from './support/repo.ts'

type Tree = [what: string, commit: (repo: Repo) => Promise<void>, reason: RegExp]

// Trees that git takes and a server should not. Each is pushed on top of a version that is live.
const trees: Tree[] = [
  [
    'a symlink out of the app',
    async (repo) => {
      await symlink('/etc/passwd', join(repo.directory, 'me'))
      await repo.commit({})
    },
    /me is a symlink to "\/etc\/passwd", outside the app/,
  ],
  [
    'a symlink that climbs out',
    async (repo) => {
      await symlink('../../secrets', join(repo.directory, 'up'))
      await repo.commit({})
    },
    /up is a symlink to "\.\.\/\.\.\/secrets", outside the app/,
  ],
  [
    'a name with a line break',
    async (repo) => void (await repo.commit({ 'a\nb.txt': 'x' })),
    /the source cannot be taken: it holds the path "a\\nb\.txt"/,
  ],
  [
    'a hundred thousand files',
    async (repo) => {
      const blob = (await repo.git('rev-parse', 'HEAD:index.html')).stdout.trim()
      const folder = await writeTree(repo, 316, (at) => `100644 blob ${blob}\tf${at}`)
      const top = await writeTree(repo, 317, (at) => `040000 tree ${folder}\td${at}`)
      await commitTree(repo, top)
    },
    /more than 50000 files, this server's limit \(ATELIER_CHECKOUT_MAX_FILES\)/,
  ],
]

test.for(trees)('%s is refused in a sentence, and what is live stays', async ([, commit, reason], { atelier }) => {
  const app = await atelier.createApp()
  const repo = await atelier.clone(app)
  const live = await repo.commit({ 'index.html': 'live' })
  await repo.push()
  await commit(repo)

  const refused = await repo.tryPush(atOnce)
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toMatch(reason)
  const { body, headers } = await atelier.get(app, '/')
  expect({ body, version: headers['x-atelier-deployment'] }).toEqual({ body: 'live', version: live })

  await repo.git('reset', '--hard', '--quiet', live)
  const next = await repo.commit({ 'index.html': 'next' })
  await repo.push(atOnce)
  expect((await atelier.get(app, '/')).headers['x-atelier-deployment']).toBe(next)
})

async function writeTree(repo: Repo, count: number, line: (at: number) => string): Promise<string> {
  const lines = Array.from({ length: count }, (_, at) => line(at)).sort()
  return (await repo.gitWith(`${lines.join('\n')}\n`, 'mktree')).stdout.trim()
}

async function commitTree(repo: Repo, tree: string): Promise<void> {
  const commit = (await repo.git('commit-tree', tree, '-p', 'HEAD', '-m', 'many')).stdout.trim()
  await repo.git('update-ref', 'refs/heads/main', commit)
}
