import { z } from '@hono/zod-openapi'
import type { Deployment } from '../deployments.ts'
import { type Changes, readDifferences } from '../differences.ts'
import { answersJson } from './answers.ts'
import { appName, versionName } from './fields.ts'
import { findBuilt } from './find-built.ts'
import { route } from './route.ts'

// Of each kind of change; how many there are is said beside them.
const mostListed = 500

const names = z.array(z.string())
const sizes = z.array(z.object({ path: z.string(), from: z.number().nullable(), to: z.number().nullable() }))
const ranges = z.array(z.object({ name: z.string(), from: z.string().nullable(), to: z.string().nullable() }))
const side = z.object({ version: z.string(), number: z.number(), environment: z.string(), state: z.string() })

const differencesJson = z
  .object({
    from: side,
    to: side,
    files: z.object({ added: sizes, removed: sizes, changed: sizes, total: z.number() }),
    server_code: z.object({ from: z.number().nullable(), to: z.number().nullable(), changed: z.boolean() }).nullable(),
    routes: z.object({ added: names, removed: names }),
    env: z.object({ added: names, removed: names, changed: names }),
    dependencies: z.object({ added: ranges, removed: ranges, changed: ranges, lockfile_changed: z.boolean() }),
    commits: z.array(z.object({ sha: z.string(), subject: z.string() })),
  })
  .openapi('Differences')

// GET /api/platform/apps/marketing/diff?from=3f2a91c&to=v17
export const diffRoute = route({
  method: 'get',
  path: '/apps/{app}/diff',
  summary: 'What differs between two built versions: files, routes, names of variables, dependencies, commits',
  policy: { action: 'read', on: 'params' },
  params: z.object({ app: appName }),
  query: z.strictObject({ from: versionName, to: versionName }),
  whole: 'of files, it has at most 500 of a kind',
  answers: answersJson('what differs; of files at most 500 of a kind', differencesJson),
  async handle({ query }, { app, sql, store, key }) {
    const [from, to] = await Promise.all([findBuilt(sql, app, query.from), findBuilt(sql, app, query.to)])
    const { files, serverCode, dependencies, isLockfileChanged, ...rest } = await readDifferences(
      sql,
      { store, key },
      from,
      to,
    )
    const listed = map(files, (all) => all.slice(0, mostListed).map(({ name, ...sizes }) => ({ path: name, ...sizes })))
    return Response.json({
      ...{ from: toSide(from), to: toSide(to) },
      files: { ...listed, total: files.added.length + files.removed.length + files.changed.length },
      server_code: serverCode && { from: serverCode.from, to: serverCode.to, changed: serverCode.isChanged },
      dependencies: { ...dependencies, lockfile_changed: isLockfileChanged },
      ...rest,
    })
  },
})

function map<T, U>({ added, removed, changed }: Changes<T>, read: (all: T[]) => U[]): Changes<U> {
  return { added: read(added), removed: read(removed), changed: read(changed) }
}

function toSide({ version, number, environment, state }: Deployment) {
  return { version, number, environment, state }
}
