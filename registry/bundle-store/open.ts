import type { Config } from '../config.ts'
import type { BundleStore } from './contract.ts'
import { FileStore } from './file.ts'

/** Opens the store that ATELIER_STORE_URL names: `file:/absolute/path` or `s3://bucket?…`. Of a store that is away nothing is asked yet. */
export async function openStore({ storeUrl, s3Keys }: Pick<Config, 'storeUrl' | 's3Keys'>): Promise<BundleStore> {
  if (!storeUrl.startsWith('s3:')) {
    const store = new FileStore(storeUrl.slice('file:'.length).replace(/\/+$/, ''))
    await store.removeAbandoned()
    return store
  }
  // Loading the client takes 95 ms, which only those who use it pay at every start.
  const [{ S3Store }, { parseS3Url }] = await Promise.all([import('./s3.ts'), import('./s3-address.ts')])
  return new S3Store(parseS3Url(storeUrl), { keys: s3Keys })
}
