import { createHash } from 'node:crypto'
import { pipeline, Readable, Transform } from 'node:stream'
import { finished } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { AppError, codeOf, messageOf } from '../errors.ts'
import type { BundleStore } from './contract.ts'
import type { S3Address } from './s3-address.ts'

export type S3Keys = { accessKeyId: string; secretAccessKey: string }

const maxTries = 5
const atOnce = 32
const connectWithinMs = 3000
const requestWithinMs = 120_000
// Held in memory while it is sent: a part that fails is sent again from there.
const partBytes = 8 * 1_048_576
const partsAtOnce = 2

type Body = AsyncIterable<Uint8Array> & { destroy(error?: Error): unknown }
type Opened = { body: Body; from: number; size: number | null; etag: string | undefined }

/**
 * The store in a bucket of any S3 service. Every request is tried five times at most and has a deadline; a body that breaks off or falls
 * silent goes on where it ended. Writes are create-only by `If-None-Match: *` where the service knows it, else by asking first: that
 * is found out before the first write, for some services take the condition and do nothing about it.
 */
export class S3Store implements BundleStore {
  readonly atOnce = atOnce
  readonly #client: S3Client
  readonly #address: S3Address
  readonly #keysPerPage: number
  #createsOnly: Promise<boolean> | null = null

  /** Without `keys`: those the AWS tools would take (AWS_ACCESS_KEY_ID, ~/.aws, the machine's role). */
  constructor(
    address: S3Address,
    {
      keys = null,
      keysPerPage = 1000,
      silentForMs = 15_000,
    }: { keys?: S3Keys | null; keysPerPage?: number; silentForMs?: number } = {},
  ) {
    this.#keysPerPage = keysPerPage
    const { endpoint, region, forcePathStyle } = address
    this.#address = address
    this.#client = new S3Client({
      region,
      forcePathStyle,
      ...(endpoint !== null && { endpoint }),
      ...(keys && { credentials: keys }),
      maxAttempts: maxTries,
      // Digests are checked end to end here; services other than Amazon's often know none of the newer checksums.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: connectWithinMs,
        socketTimeout: silentForMs,
        requestTimeout: requestWithinMs,
        throwOnRequestTimeout: true,
        socketAcquisitionWarningTimeout: requestWithinMs,
        httpAgent: { keepAlive: true, maxSockets: 2 * atOnce },
        httpsAgent: { keepAlive: true, maxSockets: 2 * atOnce },
      },
    })
  }

  async put(key: string, body: Buffer | Readable, { sha256 }: { sha256?: string } = {}): Promise<void> {
    try {
      if (Buffer.isBuffer(body)) refuseOther(key, sha256, createHash('sha256').update(body).digest('hex'))
      const isConditional = await this.#isCreateOnly()
      if (!isConditional && (await this.#isThere(key))) return await readToEnd(body)
      const condition = isConditional ? { IfNoneMatch: '*' } : {}
      if (Buffer.isBuffer(body))
        await this.#client.send(new PutObjectCommand({ ...this.#object(key), ...condition, Body: body }))
      else await this.#upload(key, body, { sha256, condition })
    } catch (thrown) {
      // It is there already: by somebody else, or by an earlier try of this one whose answer was lost.
      if (!isRefusedCondition(thrown)) throw this.#unavailable(key, thrown)
    } finally {
      if (!Buffer.isBuffer(body)) body.destroy()
    }
  }

  async get(key: string): Promise<Readable> {
    const opened = await this.#open(key, 0)
    return Readable.from(this.#read(key, opened), { objectMode: false })
  }

  async has(keys: string[]): Promise<Set<string>> {
    const found = new Set<string>()
    await inTurns(keys, async (key) => {
      try {
        if (await this.#isThere(key)) found.add(key)
      } catch (thrown) {
        throw this.#unavailable(key, thrown)
      }
    })
    return found
  }

  async remove(keys: string | string[]): Promise<void> {
    // One by one: the request for many needs a checksum that services disagree about.
    await inTurns([keys].flat(), async (key) => {
      try {
        await this.#client.send(new DeleteObjectCommand(this.#object(key)))
      } catch (thrown) {
        if (!isMissing(thrown)) throw this.#unavailable(key, thrown)
      }
    })
  }

  async list(prefix: string): Promise<string[]> {
    const { bucket, prefix: own } = this.#address
    const keys: string[] = []
    let next: string | undefined
    try {
      do {
        const page = await this.#client.send(
          new ListObjectsV2Command({
            Bucket: bucket,
            Prefix: own + prefix,
            MaxKeys: this.#keysPerPage,
            ContinuationToken: next,
          }),
        )
        for (const { Key } of page.Contents ?? []) if (Key?.startsWith(own)) keys.push(Key.slice(own.length))
        next = page.IsTruncated ? page.NextContinuationToken : undefined
      } while (next !== undefined)
      return keys
    } catch (thrown) {
      throw this.#unavailable(prefix, thrown)
    }
  }

  localPath(): null {
    return null
  }

  #object(key: string): { Bucket: string; Key: string } {
    if (key.split('/').some((part) => part === '' || part === '.' || part === '..'))
      throw new AppError('INTERNAL', `the key ${JSON.stringify(key)} leaves the store`)
    return { Bucket: this.#address.bucket, Key: this.#address.prefix + key }
  }

  // Ends before the last part is sent when the digest is another, so that what was sent never becomes an object.
  async #upload(
    key: string,
    body: Readable,
    { sha256, condition }: { sha256: string | undefined; condition: { IfNoneMatch?: string } },
  ): Promise<void> {
    const hash = createHash('sha256')
    const checked = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk)
        done(null, chunk)
      },
      flush(done) {
        try {
          refuseOther(key, sha256, hash.digest('hex'))
          done()
        } catch (thrown) {
          done(thrown instanceof Error ? thrown : new Error(String(thrown)))
        }
      },
    })
    // An error of the source travels on to the upload, which reports it.
    pipeline(body, checked, () => undefined)
    await new Upload({
      client: this.#client,
      partSize: partBytes,
      queueSize: partsAtOnce,
      params: { ...this.#object(key), ...condition, Body: checked },
    }).done()
  }

  #isCreateOnly(): Promise<boolean> {
    this.#createsOnly ??= this.#findOutCreateOnly().catch((thrown: unknown) => {
      this.#createsOnly = null
      throw thrown
    })
    return this.#createsOnly
  }

  // Two conditional writes of one key: a service that heeds the condition refuses the second.
  async #findOutCreateOnly(): Promise<boolean> {
    const write = new PutObjectCommand({ ...this.#object('create-only'), Body: 'kept', IfNoneMatch: '*' })
    for (let writes = 0; writes < 2; writes += 1) {
      try {
        await this.#client.send(write)
      } catch (thrown) {
        if (isRefusedCondition(thrown)) return true
        if (isUnknownCondition(thrown)) return false
        throw thrown
      }
    }
    return false
  }

  async #isThere(key: string): Promise<boolean> {
    try {
      await this.#client.send(new HeadObjectCommand(this.#object(key)))
      return true
    } catch (thrown) {
      if (isMissing(thrown)) return false
      throw thrown
    }
  }

  async #open(key: string, from: number, etag?: string): Promise<Opened> {
    try {
      const again = from > 0 ? { Range: `bytes=${from}-`, IfMatch: etag } : {}
      const { Body, ContentLength, ContentRange, ETag } = await this.#client.send(
        new GetObjectCommand({ ...this.#object(key), ...again }),
      )
      if (!isBody(Body)) throw new Error('the answer has no body')
      // A service that takes no notice of the range begins anew.
      const startsAt = ContentRange ? from : 0
      return {
        body: Body,
        from: startsAt,
        size: ContentLength === undefined ? null : startsAt + ContentLength,
        etag: ETag,
      }
    } catch (thrown) {
      throw isMissing(thrown)
        ? new AppError('STORE_CORRUPT', `the bundle store has no ${key}`, { cause: thrown })
        : this.#unavailable(key, thrown)
    }
  }

  async *#read(key: string, first: Opened): AsyncGenerator<Uint8Array> {
    let opened = first
    let at = 0
    for (let tries = 1; ; tries += 1) {
      try {
        let skip = at - opened.from
        for await (const chunk of opened.body) {
          const fresh = skip > 0 ? chunk.subarray(skip) : chunk
          skip -= chunk.length - fresh.length
          at += fresh.length
          if (fresh.length > 0) yield fresh
        }
        if (opened.size === null || at >= opened.size) return
        throw new Error(`the answer ended after ${at} of ${opened.size} bytes`)
      } catch (thrown) {
        if (tries >= maxTries) throw this.#unavailable(key, thrown)
      } finally {
        opened.body.destroy()
      }
      await pause(100 * 2 ** tries)
      opened = await this.#open(key, at, first.etag)
    }
  }

  #unavailable(key: string, thrown: unknown): AppError {
    if (thrown instanceof AppError) return thrown
    const { bucket, endpoint } = this.#address
    const where = `the bundle store s3://${bucket}${endpoint === null ? '' : ` at ${new URL(endpoint).host}`}`
    return new AppError('STORE_UNAVAILABLE', `${where} cannot keep or read ${key}: ${reasonOf(thrown)}`, {
      cause: thrown,
    })
  }
}

// Whoever writes the body is to hear the same, whether it was wanted or not.
async function readToEnd(body: Buffer | Readable): Promise<void> {
  if (!Buffer.isBuffer(body)) await finished(body.resume())
}

function refuseOther(key: string, wanted: string | undefined, found: string): void {
  if (wanted && wanted !== found)
    throw new AppError('STORE_CORRUPT', `${key}: the bytes have the digest ${found}, not ${wanted}`)
}

const reasons: Record<string, string> = {
  AccessDenied: 'access denied; the key needs GetObject, PutObject, DeleteObject and ListBucket',
  InvalidAccessKeyId: 'it does not know the access key (ATELIER_S3_ACCESS_KEY_ID)',
  SignatureDoesNotMatch: 'the secret is wrong (ATELIER_S3_SECRET_ACCESS_KEY)',
  RequestTimeTooSkewed: 'the clock of this machine is wrong',
  NoSuchBucket: 'there is no such bucket',
  CredentialsProviderError: 'no credentials; set ATELIER_S3_ACCESS_KEY_ID and ATELIER_S3_SECRET_ACCESS_KEY',
  TimeoutError: 'it does not answer',
  ECONNREFUSED: 'nobody listens there',
  ENOTFOUND: 'its name is not known',
}

function reasonOf(thrown: unknown): string {
  const name = thrown instanceof Error ? thrown.name : ''
  const status = statusOf(thrown)
  const text = reasons[name] ?? reasons[codeOf(thrown) ?? ''] ?? (status === 403 ? reasons['AccessDenied'] : undefined)
  if (text) return text
  return status && status >= 500 ? `it answers ${status} (${messageOf(thrown)})` : messageOf(thrown) || name
}

function statusOf(thrown: unknown): number | undefined {
  return thrown instanceof S3ServiceException ? thrown.$metadata.httpStatusCode : undefined
}

function isMissing(thrown: unknown): boolean {
  return statusOf(thrown) === 404 && thrown instanceof Error && thrown.name !== 'NoSuchBucket'
}

function isRefusedCondition(thrown: unknown): boolean {
  return statusOf(thrown) === 412
}

function isUnknownCondition(thrown: unknown): boolean {
  return statusOf(thrown) === 501 || (thrown instanceof Error && thrown.name === 'NotImplemented')
}

function isBody(body: unknown): body is Body {
  return body instanceof Readable
}

async function inTurns(keys: string[], work: (key: string) => Promise<void>): Promise<void> {
  const waiting = keys.values()
  const run = async () => {
    for (const key of waiting) await work(key)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, keys.length) }, run))
}
