import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { freePort, requireProgram } from './machine.ts'

const packages = ['python3', 'swift-proxy', 'swift-account', 'swift-container', 'swift-object']
const deadlineMs = 60_000

/** A real S3 service on loopback (OpenStack Swift's), with one bucket; up in a second. */
export class TestS3 {
  readonly keys = { accessKeyId: 'tester:ada', secretAccessKey: `secret-${randomBytes(12).toString('hex')}` }
  readonly endpoint: string
  readonly bucket = 'bundles'
  readonly #directory: string
  readonly #server: ChildProcess

  /** `plain`: as Debian's Swift is, refusing conditional writes; else it takes them. */
  static async start({ writes = 'conditional' }: { writes?: 'conditional' | 'plain' } = {}): Promise<TestS3> {
    await requireProgram('swift-object-server', packages)
    const port = await freePort()
    const s3 = new TestS3(port, await mkdtemp(join(tmpdir(), 'at-s3-')), writes)
    await s3.#ready()
    const client = s3.client()
    await client.send(new CreateBucketCommand({ Bucket: s3.bucket }))
    client.destroy()
    return s3
  }

  private constructor(port: number, directory: string, writes: string) {
    this.endpoint = `http://127.0.0.1:${port}`
    this.#directory = directory
    const { accessKeyId, secretAccessKey } = this.keys
    const script = join(import.meta.dirname, 's3-endpoint.py')
    const args = [script, directory, String(port), accessKeyId, secretAccessKey, writes]
    // Debian's own Python: another one on the PATH does not know Debian's modules.
    this.#server = spawn('/usr/bin/python3', args, { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  /** As ATELIER_ variables; `endpoint` leads there by another way. */
  env({ endpoint = this.endpoint, prefix = '' }: { endpoint?: string; prefix?: string } = {}): Record<string, string> {
    const query = new URLSearchParams({ endpoint, region: 'us-east-1', ...(prefix && { prefix }) })
    return {
      ATELIER_STORE_URL: `s3://${this.bucket}?${query}`,
      ATELIER_S3_ACCESS_KEY_ID: this.keys.accessKeyId,
      ATELIER_S3_SECRET_ACCESS_KEY: this.keys.secretAccessKey,
    }
  }

  /** The service's own client, for what the platform never does. */
  client(): S3Client {
    return new S3Client({
      endpoint: this.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: this.keys,
      requestChecksumCalculation: 'WHEN_REQUIRED',
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.exitCode === null && this.#server.signalCode === null) {
      const ended = once(this.#server, 'exit')
      this.#server.kill('SIGKILL')
      await ended
    }
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #ready(): Promise<void> {
    let said = ''
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`the S3 endpoint ${why}:\n${said}`))
      const timer = setTimeout(() => fail('is not ready'), deadlineMs)
      const hear = (text: string) => {
        said = (said + text).slice(-5000)
        if (said.includes('serving')) {
          clearTimeout(timer)
          resolve()
        }
      }
      this.#server.stdout?.setEncoding('utf8').on('data', hear)
      this.#server.stderr?.setEncoding('utf8').on('data', hear)
      this.#server.once('error', reject)
      this.#server.once('exit', (code) => fail(`ended with ${code}`))
    })
  }
}
