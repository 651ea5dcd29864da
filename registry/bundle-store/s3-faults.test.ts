import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { FaultProxy } from '../../test/support/fault-proxy.ts'
import { TestS3 } from '../../test/support/s3.ts'
import { readConfig } from '../config.ts'
import { S3Store } from './s3.ts'
import { parseS3Url } from './s3-address.ts'

const s3 = await TestS3.start()
const proxy = await FaultProxy.open(s3.endpoint)
afterEach(() => proxy.heal())
afterAll(() => Promise.all([proxy[Symbol.asyncDispose](), s3[Symbol.asyncDispose]()]))

const { storeUrl, s3Keys } = readConfig({ ATELIER_HOME: '/nowhere', ...s3.env({ endpoint: proxy.endpoint }) })
const store = new S3Store(parseS3Url(storeUrl), { keys: s3Keys, silentForMs: 300 })
const bytes = randomBytes(400_000)
await store.put('blobs/there', bytes)
const unavailable = expect.objectContaining({ code: 'STORE_UNAVAILABLE' })

describe('F8: a service', () => {
  test('that is down is asked five times at most, and named with its bucket', async () => {
    proxy.inject({ kind: 'down' })
    for (const ask of [
      () => store.get('blobs/there'),
      () => store.has(['blobs/there']),
      () => store.put('blobs/new', bytes),
      () => store.put('blobs/new', Readable.from([bytes])),
      () => store.list('blobs/'),
      () => store.remove('blobs/none'),
    ]) {
      proxy.seen.length = 0
      await expect(ask()).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringMatching(
          /^the bundle store s3:\/\/bundles at 127\.0\.0\.1:\d+ cannot keep or read blobs\//,
        ),
      })
      expect(proxy.seen.length).toBeGreaterThan(0)
      expect(proxy.seen.length).toBeLessThanOrEqual(5)
    }
  })

  test('where nobody listens is named so', async () => {
    const nowhere = new S3Store({ ...parseS3Url(storeUrl), endpoint: 'http://127.0.0.1:9' }, { keys: s3Keys })
    await expect(nowhere.get('blobs/there')).rejects.toThrow(
      'at 127.0.0.1:9 cannot keep or read blobs/there: nobody listens there',
    )
  })

  test('that answers 500 twice is asked a third time; one that goes on is given up after five', async () => {
    proxy.inject({ kind: 'status', status: 500 }, { times: 2 })
    expect(await buffer(await store.get('blobs/there'))).toEqual(bytes)
    proxy.inject({ kind: 'status', status: 503 }, { times: 2 })
    await store.put('blobs/after-503', bytes)
    proxy.inject({ kind: 'status', status: 500 })
    await expect(store.put('blobs/never', bytes)).rejects.toThrow('it answers 500')
    expect(proxy.seen).toHaveLength(5)
  })

  test('that takes five seconds for each answer is waited for', async () => {
    const patient = new S3Store(parseS3Url(storeUrl), { keys: s3Keys })
    proxy.inject({ kind: 'late', ms: 5000 })
    expect(await buffer(await patient.get('blobs/there'))).toEqual(bytes)
    expect(proxy.seen).toHaveLength(1)
  })

  test('that says nothing is given up after five silences', async () => {
    proxy.inject({ kind: 'silent' })
    await expect(store.get('blobs/there')).rejects.toThrow('it does not answer')
    expect(proxy.seen).toHaveLength(5)
  })

  test('whose bodies break off is asked for the rest, five times at most', async () => {
    proxy.inject({ kind: 'cut', at: 100_000 })
    expect(await buffer(await store.get('blobs/there'))).toEqual(bytes)
    expect(proxy.seen).toHaveLength(4)
    proxy.inject({ kind: 'cut', at: 10 })
    await expect(store.get('blobs/there').then(buffer)).rejects.toEqual(unavailable)
    expect(proxy.seen).toHaveLength(5)
  })

  test('whose answer to a write is lost has it once', async () => {
    proxy.inject({ kind: 'cut', at: 0 }, { of: ({ method }) => method === 'PUT', times: 1 })
    await store.put('blobs/lost-answer', bytes)
    expect(await buffer(await store.get('blobs/lost-answer'))).toEqual(bytes)
  })
})

describe('what is set up wrong', () => {
  test('a wrong secret is said in words, without the secret', async () => {
    const keys = { ...s3.keys, secretAccessKey: 'of another time' }
    const denied = new S3Store(parseS3Url(storeUrl), { keys })
    const failure = await denied.list('blobs/').catch((thrown: Error) => thrown)
    expect(failure).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/the secret is wrong|access denied/),
    })
    expect(String(failure)).not.toContain(keys.secretAccessKey)
  })

  test('a bucket that is not there is said', async () => {
    const missing = new S3Store({ ...parseS3Url(storeUrl), bucket: 'nobodys' }, { keys: s3Keys })
    for (const ask of [
      () => missing.list('blobs/'),
      () => missing.get('blobs/there'),
      () => missing.put('blobs/x', bytes),
    ])
      await expect(ask()).rejects.toThrow('there is no such bucket')
  })

  test.each([
    ['s3://', 'bucket'],
    ['s3://UPPER_case', 'bucket'],
    ['s3://key:secret@bucket', 'must not hold credentials'],
    ['s3://bucket/below', '?prefix='],
    ['s3://bucket?endpint=http://x', '"endpint"'],
    ['s3://bucket?endpoint=ftp://x', 'http://'],
    ['s3://bucket?endpoint=http://a:b@x', 'http://'],
    ['s3://bucket?prefix=../x', 'prefix'],
    ['s3://bucket?forcePathStyle=yes', 'forcePathStyle'],
  ])('%s is refused at the start: %s', (url, words) => {
    const read = () => readConfig({ ATELIER_HOME: '/nowhere', ATELIER_STORE_URL: url })
    expect(read).toThrow(expect.objectContaining({ code: 'CONFIG_ENV', message: expect.stringContaining(words) }))
    expect(read).not.toThrow('secret')
  })

  test('an access key without its secret is refused', () => {
    const read = () => readConfig({ ATELIER_HOME: '/nowhere', ATELIER_S3_ACCESS_KEY_ID: 'ada' })
    expect(read).toThrow('ATELIER_S3_SECRET_ACCESS_KEY: is missing')
  })
})
