import type { Answer, Client } from './client.ts'

export type NewWebhook = {
  url: string
  name: string | undefined
  format: 'json' | 'slack' | undefined
  events: string[] | undefined
  environment: 'production' | 'preview' | undefined
}

/** The webhooks of an app, or with null the platform's own: the same requests below two paths. */
export class WebhooksClient {
  readonly #client: Client
  readonly #app: string | null

  constructor(client: Client, app: string | null) {
    this.#client = client
    this.#app = app
  }

  list(): Promise<Answer<'GET webhooks'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null ? client.call('GET webhooks') : client.call('GET apps/{app}/webhooks', { params: { app } })
  }

  create(json: NewWebhook): Promise<Answer<'POST webhooks'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('POST webhooks', { json })
      : client.call('POST apps/{app}/webhooks', { params: { app }, json })
  }

  async remove(webhook: string): Promise<void> {
    const [client, app] = [this.#client, this.#app]
    await (app === null
      ? client.call('DELETE webhooks/{webhook}', { params: { webhook } })
      : client.call('DELETE apps/{app}/webhooks/{webhook}', { params: { app, webhook } }))
  }

  rotate(webhook: string): Promise<Answer<'POST webhooks/{webhook}/rotate'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('POST webhooks/{webhook}/rotate', { params: { webhook } })
      : client.call('POST apps/{app}/webhooks/{webhook}/rotate', { params: { app, webhook } })
  }

  enable(webhook: string): Promise<Answer<'POST webhooks/{webhook}/enable'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('POST webhooks/{webhook}/enable', { params: { webhook } })
      : client.call('POST apps/{app}/webhooks/{webhook}/enable', { params: { app, webhook } })
  }

  test(webhook: string): Promise<Answer<'POST webhooks/{webhook}/test'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('POST webhooks/{webhook}/test', { params: { webhook } })
      : client.call('POST apps/{app}/webhooks/{webhook}/test', { params: { app, webhook } })
  }

  deliveries(
    webhook: string,
    query: { limit?: number; cursor?: string },
  ): Promise<Answer<'GET webhooks/{webhook}/deliveries'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('GET webhooks/{webhook}/deliveries', { params: { webhook }, query })
      : client.call('GET apps/{app}/webhooks/{webhook}/deliveries', { params: { app, webhook }, query })
  }

  delivery(webhook: string, delivery: number): Promise<Answer<'GET webhooks/{webhook}/deliveries/{delivery}'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('GET webhooks/{webhook}/deliveries/{delivery}', { params: { webhook, delivery } })
      : client.call('GET apps/{app}/webhooks/{webhook}/deliveries/{delivery}', { params: { app, webhook, delivery } })
  }

  redeliver(
    webhook: string,
    delivery: number,
  ): Promise<Answer<'POST webhooks/{webhook}/deliveries/{delivery}/redeliver'>> {
    const [client, app] = [this.#client, this.#app]
    return app === null
      ? client.call('POST webhooks/{webhook}/deliveries/{delivery}/redeliver', { params: { webhook, delivery } })
      : client.call('POST apps/{app}/webhooks/{webhook}/deliveries/{delivery}/redeliver', {
          params: { app, webhook, delivery },
        })
  }
}
