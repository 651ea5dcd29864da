import { readFile } from 'node:fs/promises'
import { type Config, readConfig } from '../../registry/config.ts'
import { AppError, codeOf } from '../../registry/errors.ts'
import { type KeyRing, newKey, parseKeys } from '../../registry/key-ring.ts'
import { countSealed, sealAllAgain } from '../../registry/key-rotation.ts'
import { findKey, keyPath } from '../../registry/secrets.ts'
import { connect, isUnreachable, type Sql } from '../../registry/sql.ts'
import { Failure } from '../failure.ts'
import { embeddedUrl, inspectDatabase } from './database.ts'
import { prepareHome } from './home.ts'
import { writePrivately } from './private-file.ts'

/** `values`: how many it has sealed. The first one seals. */
export type ListedKey = { name: string; seals: boolean; values: number }
export type Rotated = { name: string; values: number; isNew: boolean }

/** The keys of this machine, the one that seals first. Throws a Failure. */
export function listKeys(env: NodeJS.ProcessEnv): Promise<ListedKey[]> {
  return withKeys(env, async ({ sql, key }) => {
    const counts = await countSealed(sql, key)
    const unnamed = counts.get('unnamed') ?? 0
    return key.all().map(({ id }, at) => {
      const name = id.toString('hex')
      // What was sealed before keys had names was so by the eldest.
      const isEldest = at === key.all().length - 1
      return { name, seals: at === 0, values: (counts.get(name) ?? 0) + (isEldest ? unnamed : 0) }
    })
  })
}

/**
 * Makes a new key, unless one is half way in, and seals everything again by it. Parts that run take it up by themselves; the key before stays in the file and
 * opens. Throws a Failure, and what to do, where the key is not this machine's alone.
 */
export function rotateKey(
  env: NodeJS.ProcessEnv,
  { isOneMachine, onValues }: { isOneMachine: boolean; onValues: (values: number) => void },
): Promise<Rotated> {
  return withKeys(env, async ({ sql, key, config, isEmbedded }) => {
    const isHalfWay = key.all().length > 1 && !(await isSealedBy(sql, key))
    if (!isHalfWay && config.key !== null) throw new Failure(stepsByHand('ATELIER_KEY'), { code: 'CONFIG_ENV' })
    if (!isHalfWay && !isEmbedded && !isOneMachine)
      throw new Failure(stepsByHand(`${keyPath(config.home)} (or --one-machine, when no part runs elsewhere)`), {
        code: 'CONFIG_ENV',
      })
    if (!isHalfWay) await writeKeys(config, (keys) => [newKey(), ...keys])
    key.refresh()
    const values = await sealAllAgain(sql, key, { onBatch: onValues })
    return { name: key.current().id.toString('hex'), values, isNew: !isHalfWay }
  })
}

/** Removes every key but the one that seals. Returns how many; throws a Failure while something is sealed by one of them. */
export function forgetKeys(env: NodeJS.ProcessEnv): Promise<number> {
  return withKeys(env, async ({ sql, key, config }) => {
    if (config.key !== null)
      throw new Failure('the keys are set by ATELIER_KEY; leave only the first one in it', { code: 'CONFIG_ENV' })
    const former = key.all().length - 1
    if (former === 0) return 0
    if (!(await isSealedBy(sql, key)))
      throw new Failure('something is sealed by a key before; first: atelier keys rotate', { code: 'CONFIG_ENV' })
    await writeKeys(config, (keys) => keys.slice(0, 1))
    return former
  })
}

async function isSealedBy(sql: Sql, key: KeyRing): Promise<boolean> {
  const current = key.current().id.toString('hex')
  return [...(await countSealed(sql, key)).keys()].every((name) => name === current)
}

async function writeKeys({ home }: Config, change: (keys: Buffer[]) => Buffer[]): Promise<void> {
  const path = keyPath(home)
  const keys = change(parseKeys(await readFile(path, 'utf8'), path))
  await writePrivately(path, keys.map((one) => `${one.toString('base64')}\n`).join(''))
}

function stepsByHand(where: string): string {
  return [
    `this key is in ${where}, and parts on other machines have to know the new one before anything is sealed by it:`,
    '1. make one (openssl rand -base64 32), put it behind the present one (present,new) for every part, and restart them;',
    '2. put it first (new,present) for every part, and restart them;',
    '3. atelier keys rotate, which seals everything again by the first; 4. leave only the new one',
  ].join('\n')
}

type Opened = { sql: Sql; key: KeyRing; config: Config; isEmbedded: boolean }

async function withKeys<T>(env: NodeJS.ProcessEnv, work: (opened: Opened) => Promise<T>): Promise<T> {
  const config = readConfig(env)
  const isEmbedded = config.databaseUrl === null
  const key = await findKey(config)
  if (!key)
    throw new Failure(`there is no key in ${config.home}; run this where the platform runs, with its ATELIER_HOME`, {
      code: 'CONFIG_ENV',
    })
  const home = await prepareHome(config)
  const url = config.databaseUrl ?? embeddedUrl(home, await inspectDatabase(home))
  const sql = connect(url, { max: 1, name: 'atelier-keys' })
  try {
    // Before anything is written: a key that was made and seals nothing yet would be left in the file.
    await sql`select 1`
    return await work({ sql, key, config, isEmbedded })
  } catch (thrown) {
    if (thrown instanceof Failure || thrown instanceof AppError || !isUnreachable(thrown)) throw thrown
    throw new Failure(whyAway(config, thrown), { code: 'DATABASE_UNAVAILABLE', exitCode: 3 })
  } finally {
    await sql.end({ timeout: 1 })
  }
}

function whyAway({ home, databaseUrl }: Config, thrown: unknown): string {
  const code = codeOf(thrown) ?? 'no connection'
  if (databaseUrl !== null)
    return `the database that ATELIER_DATABASE_URL names cannot be reached (${code}); is it running, and is that its address?`
  return code === 'EACCES'
    ? `this user may not reach the database of the platform in ${home}; run this as the user who runs it`
    : `the platform in ${home} does not run, and its database with it; start it with: atelier up`
}
