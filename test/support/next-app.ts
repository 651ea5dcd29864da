import { createHash } from 'node:crypto'
import { glob, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { serverKey } from '../../registry/bundle-store/keys.ts'
import { TestWorker } from './build-worker.ts'
import type { TestBundle } from './edge.ts'
import { checkout } from './platform.ts'

const folder = join(checkout, 'test/fixtures/next')
const kept = join(checkout, 'node_modules/.cache/atelier-tests')

/**
 * The app of `test/fixtures/next`, as a build worker makes it with the real Next.js from npm. It is made once for all runs, for as long as neither it nor
 * what builds it changes.
 */
export async function builtNext(): Promise<TestBundle> {
  const files = await sources()
  const place = join(kept, `next-${await digestOf(files)}.tar.zst`)
  const archive = await readFile(place).catch(() => null)
  return { kind: 'server', packed: { archive: archive ?? (await build(files, place)), entry: 'atelier.next.mjs' } }
}

async function sources(): Promise<Record<string, Buffer>> {
  const files: Record<string, Buffer> = {}
  for await (const path of glob('**/*.{js,json,mjs}', { cwd: folder })) files[path] = await readFile(join(folder, path))
  return { ...files, 'contract.mjs': await readFile(join(checkout, 'test/fixtures/frameworks/contract.mjs')) }
}

async function digestOf(files: Record<string, Buffer>): Promise<string> {
  const hash = createHash('sha256').update(process.version)
  for (const path of Object.keys(files).sort()) hash.update(path).update(files[path] ?? '')
  const builders = await Array.fromAsync(glob('build-workers/{,transforms/}next*', { cwd: checkout }))
  for (const path of builders.sort()) hash.update(await readFile(join(checkout, path)))
  return hash.digest('hex').slice(0, 16)
}

async function build(files: Record<string, Buffer>, place: string): Promise<Buffer> {
  await using worker = await TestWorker.start()
  const { deployment, manifest, log } = await worker.deploy(await worker.createApp(), files)
  if (!manifest) throw new Error(`the Next.js app could not be built: ${deployment.stateReason}\n${log.join('\n')}`)
  const key = serverKey({ app: deployment.appId, version: deployment.version, build: manifest.build })
  const archive = await buffer(await worker.deps.store.get(key))
  await mkdir(kept, { recursive: true })
  await writeFile(`${place}.${process.pid}`, archive)
  await rename(`${place}.${process.pid}`, place)
  return archive
}
