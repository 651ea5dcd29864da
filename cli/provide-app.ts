import type { Client } from './client.ts'
import { Failure } from './failure.ts'

/** What the platform says of an app, which is made when it is missing. Throws what the API says to who may not make apps. */
export async function provideApp(client: Client, app: string): Promise<{ reply: unknown; isNew: boolean }> {
  try {
    return { reply: await client.call('GET apps/{app}', { params: { app } }), isNew: false }
  } catch (thrown) {
    if (!(thrown instanceof Failure) || thrown.code !== 'APP_NOT_FOUND') throw thrown
    return { reply: await client.call('POST apps', { json: { name: app } }), isNew: true }
  }
}
