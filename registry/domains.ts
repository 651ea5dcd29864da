import { isIP } from 'node:net'
import { domainToASCII, domainToUnicode } from 'node:url'
import type { Config } from './config.ts'
import { AppError, codeOf } from './errors.ts'
import type { Db } from './sql.ts'

/** A host name that an app is meant to have: a record, nothing is served by it yet. `host`: as in DNS, IDN as xn--…. */
export type Domain = { host: string; appId: string; createdAt: Date; createdBy: string }

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * The one spelling of a host name, whatever case, script or dot at its end it comes with (IDNA as in browsers, UTS 46). Throws DOMAIN_ILLEGAL for what is none,
 * for addresses, and for names of the platform itself.
 */
export function parseHost(text: string, { domain, appsDomain }: Pick<Config, 'domain' | 'appsDomain'>): string {
  const host = domainToASCII(text.replace(/\.$/, ''))
  const labels = host.split('.')
  const illegal = (why: string) => new AppError('DOMAIN_ILLEGAL', `${JSON.stringify(text.slice(0, 100))} ${why}`)
  if (/[/:@?#%\\\s\p{Cc}]/u.test(text) || host === '' || isIP(host) !== 0)
    throw illegal('is no host name, such as www.example.com')
  if (
    labels.length < 2 ||
    host.length > 253 ||
    !labels.every((one) => label.test(one)) ||
    /^\d+$/.test(labels.at(-1) ?? '')
  )
    throw illegal('is no host name: labels of letters, digits and - with dots between them, such as www.example.com')
  // What it shows must be what it is; a label that only looks encoded shows nothing.
  const isHollow = labels.some((one) => one.startsWith('xn--') && domainToUnicode(one) === one)
  if (isHollow || domainToASCII(domainToUnicode(host)) !== host)
    throw illegal('is no host name that browsers would take')
  const own = [domain, appsDomain].find((one) => host === one || host.endsWith(`.${one}`))
  if (own) throw illegal(`belongs to the platform (${own})`)
  return host
}

/** As people read it: `bücher.example`. */
export function shownHost(host: string): string {
  return domainToUnicode(host)
}

/** Throws NAME_TAKEN when any app has it. */
export async function addDomain(
  sql: Db,
  { host, app, by }: { host: string; app: string; by: string },
): Promise<Domain> {
  try {
    const [domain] = await sql<Domain[]>`
      insert into domains (host, app_id, created_by)
      values (${host}, ${app}, ${by})
      returning host, app_id, created_at, created_by
    `
    if (domain) return domain
  } catch (thrown) {
    if (codeOf(thrown) === '23505')
      throw new AppError('NAME_TAKEN', `${shownHost(host)} is added already, to this app or another one`, {
        cause: thrown,
      })
    throw thrown
  }
  throw new AppError('INTERNAL', `adding ${host} returned no row`)
}

export async function listDomains(
  sql: Db,
  { app, after, limit }: { app: string; after: string | null; limit: number },
): Promise<Domain[]> {
  return sql<Domain[]>`
    select host, app_id, created_at, created_by
    from domains
    where app_id = ${app}
      and (${after}::text is null or host > ${after})
    order by host
    limit ${limit}
  `
}

/** Throws DOMAIN_NOT_FOUND. */
export async function removeDomain(sql: Db, { host, app }: { host: string; app: string }): Promise<void> {
  const removed = await sql`
    delete from domains
    where host = ${host}
      and app_id = ${app}
    returning host
  `
  if (removed.length === 0)
    throw new AppError('DOMAIN_NOT_FOUND', `${app} has no domain ${shownHost(host)}; see: atelier domains --app ${app}`)
}
