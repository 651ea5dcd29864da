import { randomUUID } from 'node:crypto'
import { openStore } from '../../../registry/bundle-store/open.ts'
import type { Config } from '../../../registry/config.ts'
import { messageOf } from '../../../registry/errors.ts'
import { openRedis, redisOptions } from '../../../registry/redis.ts'
import { type Check, fail, ok, warn } from './check.ts'

export async function checkQueue({ queueUrl }: Config): Promise<Check> {
  if (queueUrl === null) return ok('queue', 'on Postgres')
  const redis = openRedis({ ...redisOptions(queueUrl, { answersWithinMs: 3000 }), retryStrategy: () => null })
  redis.on('error', () => undefined) // the command under way fails with the same
  try {
    const policy = /^maxmemory_policy:(\S+)/m.exec(await redis.info('memory'))?.[1]
    if (policy === undefined || policy === 'noeviction') return ok('queue', 'Redis answers')
    return warn(
      'queue',
      `Redis answers, and may throw jobs away when it is full (${policy})`,
      'set: maxmemory-policy noeviction',
    )
  } catch (thrown) {
    return fail(
      'queue',
      `Redis cannot be reached (${messageOf(thrown)})`,
      'is ATELIER_QUEUE_URL right, and is it running?',
    )
  } finally {
    redis.disconnect()
  }
}

/** Writes a file, reads it and removes it. */
export async function checkStore(config: Config, { isMade }: { isMade: boolean }): Promise<Check> {
  const isFile = config.storeUrl.startsWith('file:')
  if (isFile && !isMade) return ok('store', 'in the home; the first start makes it')
  const where = isFile ? config.storeUrl.slice('file:'.length) : `s3://${new URL(config.storeUrl).host}`
  const key = `doctor/${randomUUID()}`
  try {
    const store = await openStore(config)
    await store.put(key, Buffer.from('atelier doctor'))
    const isThere = (await store.has([key])).has(key)
    await store.remove(key)
    if (isThere) return ok('store', `${where} takes files and gives them back`)
    return fail('store', `${where} took a file and does not have it`, 'look at the store')
  } catch (thrown) {
    const next = isFile
      ? 'run this as the user who starts Atelier, and look at the disk'
      : 'look at ATELIER_STORE_URL and its keys'
    return fail('store', `${where} takes no files (${messageOf(thrown)})`, next)
  }
}
