import type { BundleStore } from './bundle-store/contract.ts'
import { staticPathsKey } from './bundle-store/keys.ts'
import type { Db } from './sql.ts'

/** Whether a build has pages that were rendered when it was made: they show what its environment could read. */
export async function hasPrerenderedPages(sql: Db, store: BundleStore, build: string): Promise<boolean> {
  const [found] = await sql<
    { appId: string; version: string }[]
  >`select app_id, version from builds where id = ${build}`
  if (!found) return false
  return (await store.has([staticPathsKey({ app: found.appId, version: found.version, build })])).size > 0
}
