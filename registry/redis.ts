import { createRequire } from 'node:module'
import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { Redis, RedisOptions } from 'ioredis'
import { AppError } from './errors.ts'
import type { Log } from './log.ts'

/**
 * Reads `redis://user:password@host:port/db` (`rediss://`: with TLS). Throws CONFIG_ENV, without repeating what may hold a password.
 * `answersWithinMs` bounds every command, also those that wait for a connection.
 */
export function redisOptions(queueUrl: string, { answersWithinMs }: { answersWithinMs: number }) {
  const url = URL.canParse(queueUrl) ? new URL(queueUrl) : null
  const database = url?.pathname.slice(1) ?? ''
  if (!url?.hostname || !/^\d{0,4}$/.test(database))
    throw new AppError('CONFIG_ENV', 'ATELIER_QUEUE_URL must be an address like redis://user:password@host:6379/0')
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || 6379)
  const tls = url.protocol === 'rediss:' ? {} : undefined
  return {
    host,
    port,
    Connector: heardConnector({ host, port, tls }),
    ...(url.username && { username: decodeURIComponent(url.username) }),
    ...(url.password && { password: decodeURIComponent(url.password) }),
    db: Number(database || 0),
    ...(tls && { tls }),
    connectTimeout: 2000,
    commandTimeout: answersWithinMs,
    keepAlive: 10_000,
    retryStrategy: (times: number) => Math.min(100 * 2 ** times, 2000),
  } satisfies RedisOptions
}

/** A connection that comes back by itself. Commands fail when one attempt to connect has failed. */
export function openRedis(options: RedisOptions): Redis {
  const { Redis } = ioredis()
  return new Redis({ ...options, maxRetriesPerRequest: 1 })
}

// Loaded where it is used: 30 ms of every start otherwise.
function ioredis(): typeof import('ioredis') {
  return createRequire(import.meta.url)('ioredis')
}

/**
 * Makes the connections. ioredis hears one error of each; a TLS handshake that fails has two, and the second would end the process.
 */
function heardConnector({ host, port, tls }: { host: string; port: number; tls: ConnectionOptions | undefined }) {
  const { AbstractConnector } = ioredis()
  return class HeardConnector extends AbstractConnector {
    constructor() {
      super(2000)
    }

    override async connect(): Promise<Socket> {
      this.connecting = true
      const socket = tls ? connectTls({ host, port, ...tls }) : connectTcp({ host, port })
      this.stream = socket
      return socket.on('error', (error) => {
        this.firstError = error
      })
    }
  }
}

/** Warns when this Redis may throw jobs away to make room: a lost job costs a build up to half a minute. */
export async function warnOfEviction(redis: Redis, log: Log): Promise<void> {
  try {
    const policy = /^maxmemory_policy:(\S+)/m.exec(await redis.info('memory'))?.[1]
    if (policy && policy !== 'noeviction')
      log.error(
        { policy },
        'Redis may throw build jobs away when its memory is full; set: maxmemory-policy noeviction (builds then start late)',
      )
  } catch (thrown) {
    // A user that may not ask is no reason not to work.
    log.debug({ err: thrown }, 'eviction policy of Redis not known')
  }
}
