import { AppError } from './errors.ts'
import { newId } from './ids.ts'
import { channels } from './routes.ts'
import { type Key, open, seal } from './secrets.ts'
import type { Db } from './sql.ts'

export type RepoHost = 'github' | 'gitea'
/** `approve`: a commit of a fork is built when somebody has approved exactly that one. */
export type ForkRule = 'off' | 'approve'

/** The repository elsewhere that an app is deployed from. Secret and token are sealed: `openHookSecret`, `openHostToken`. */
export type RepoLink = {
  id: string
  appId: string
  host: RepoHost
  /** As git fetches from it. */
  url: string
  apiUrl: string
  /** `owner/name`. */
  fullName: string
  secret: Buffer
  token: Buffer | null
  forks: ForkRule
  createdAt: Date
  createdBy: string
  pollFailures: number
  /** Why the host could not be asked the last time. */
  pollError: string | null
  polledAt: Date | null
}

export type NewRepoLink = Pick<RepoLink, 'appId' | 'host' | 'url' | 'apiUrl' | 'fullName' | 'forks'> & {
  secret: string
  token: string | null
  by: string
}

/**
 * Links an app to a repository. Done again for the same repository it keeps the hook's address and takes the new secret and token; for another one it
 * is a new link, and what was followed of the old one is forgotten. A token is good for the API it was given for: with another one it is forgotten.
 */
export async function linkRepo(
  tx: Db,
  { appId, secret, token, by, ...wanted }: NewRepoLink,
  key: Key,
): Promise<RepoLink> {
  const before = await findLinkOfApp(tx, appId)
  const isSame = before?.host === wanted.host && before.url === wanted.url
  if (before && !isSame) await unlinkRepo(tx, appId)
  const id = isSame ? before.id : newHookId()
  const [link] = await tx<RepoLink[]>`
    insert into repo_links (id, app_id, host, url, api_url, full_name, secret, token, forks, created_by)
    values (
      ${id}, ${appId}, ${wanted.host}, ${wanted.url}, ${wanted.apiUrl}, ${wanted.fullName},
      ${seal(key, contextOf(id, 'secret'), secret)}, ${token === null ? null : seal(key, contextOf(id, 'token'), token)},
      ${wanted.forks}, ${by}
    )
    on conflict (id) do update
    set secret = excluded.secret,
        token = case
          when excluded.api_url = repo_links.api_url then coalesce(excluded.token, repo_links.token)
          else excluded.token
        end,
        api_url = excluded.api_url,
        forks = excluded.forks,
        poll_after = now(),
        poll_failures = 0,
        poll_error = null
    returning *
  `
  if (!link) throw new AppError('INTERNAL', `linking ${appId} returned no row`)
  await tx`select pg_notify(${channels.repoHeads}, ${appId})`
  return link
}

/** Null: there was none. */
export async function unlinkRepo(sql: Db, appId: string): Promise<RepoLink | null> {
  const [link] = await sql<RepoLink[]>`delete from repo_links where app_id = ${appId} returning *`
  return link ?? null
}

/** Hosts that could not be asked the last time are asked now, however often that went wrong. */
export async function askFailingSoon(sql: Db): Promise<void> {
  await sql`
    update repo_links
    set poll_after = now()
    where poll_failures > 0
  `
}

export async function findLink(sql: Db, id: string): Promise<RepoLink | null> {
  const [link] = await sql<RepoLink[]>`select * from repo_links where id = ${id}`
  return link ?? null
}

export async function findLinkOfApp(sql: Db, appId: string): Promise<RepoLink | null> {
  const [link] = await sql<RepoLink[]>`select * from repo_links where app_id = ${appId}`
  return link ?? null
}

/** What webhooks are signed with. Throws INTERNAL when the platform's key is another one. */
export function openHookSecret({ id, secret }: RepoLink, key: Key): string {
  return open(key, contextOf(id, 'secret'), secret)
}

/** What the host's API and a private repository want; null: none was given. */
export function openHostToken({ id, token }: RepoLink, key: Key): string | null {
  return token === null ? null : open(key, contextOf(id, 'token'), token)
}

function contextOf(id: string, what: 'secret' | 'token'): string {
  return `repo-link:${id}/${what}`
}

// Two of them: whoever knows the address of a hook may ask us to look at a signature.
function newHookId(): string {
  return newId() + newId()
}
