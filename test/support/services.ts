import { test } from './atelier.ts'
import { createDatabase, type TestDatabase } from './database.ts'
import { TestRedis } from './redis.ts'
import { TestS3 } from './s3.ts'

/**
 * What a platform of several machines stands on, each the real thing on loopback: a Postgres database, a Redis, a bucket. `env` is how the
 * platform is told.
 */
export class TestServices {
  readonly database: TestDatabase
  readonly redis: TestRedis
  readonly s3: TestS3

  static async start(): Promise<TestServices> {
    const [database, redis, s3] = await Promise.all([
      createDatabase({ migrated: false }),
      TestRedis.start(),
      TestS3.start(),
    ])
    return new TestServices(database, redis, s3)
  }

  private constructor(database: TestDatabase, redis: TestRedis, s3: TestS3) {
    this.database = database
    this.redis = redis
    this.s3 = s3
  }

  /** `endpoint`: another way to the bucket, and `queueUrl` to Redis. */
  env({ endpoint, queueUrl = this.redis.url }: { endpoint?: string; queueUrl?: string } = {}): Record<string, string> {
    return {
      ATELIER_DATABASE_URL: this.database.url,
      ATELIER_QUEUE_URL: queueUrl,
      ...this.s3.env({ ...(endpoint && { endpoint }) }),
      ATELIER_ISOLATION: 'warn',
      ATELIER_RECONCILE_SEC: '2',
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.database, this.redis, this.s3].map((service) => service[Symbol.asyncDispose]()))
  }
}

/** The test function of files whose platform has nothing embedded; `services` are those of the file. */
export const testOnServices = test
  .extend('services', { scope: 'file' }, () => TestServices.start())
  .override('platformEnv', { scope: 'file' }, ({ services }, { onCleanup }) => {
    // After the platform that stands on them.
    onCleanup(() => services[Symbol.asyncDispose]())
    return services.env()
  })
