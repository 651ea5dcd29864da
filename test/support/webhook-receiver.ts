import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { text } from 'node:stream/consumers'

export type Message = {
  id: string
  type: string
  data: Record<string, unknown>
  body: string
  headers: Record<string, string>
}
export type Answer = (request: IncomingMessage, response: ServerResponse, message: Message) => unknown

export const taken: Answer = (_request, response) => response.writeHead(204).end()
export const silence: Answer = () => undefined

/** Somebody whom webhooks tell, on this machine: keeps what it was sent, and answers 204 or as `answer` does. */
export class WebhookReceiver {
  readonly messages: Message[] = []
  readonly sockets = new Set<Socket>()
  readonly url: string
  answer: Answer
  readonly #server: Server

  static async start({
    answer = taken,
    at = '127.0.0.1',
  }: {
    answer?: Answer
    at?: string
  } = {}): Promise<WebhookReceiver> {
    const server = createServer()
    server.listen(0, at)
    await once(server, 'listening')
    return new WebhookReceiver(server, answer)
  }

  private constructor(server: Server, answer: Answer) {
    const { address, port } = server.address() as AddressInfo
    this.url = `http://${address}:${port}/hook`
    this.answer = answer
    this.#server = server
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#take(request, response).catch(() => response.destroy())
    })
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket)
      socket.on('error', () => socket.destroy()).on('close', () => this.sockets.delete(socket))
    })
  }

  types(): string[] {
    return this.messages.map(({ type }) => type)
  }

  close(): void {
    this.#server.close()
    for (const socket of this.sockets) socket.destroy()
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request)
    const headers = request.headers as Record<string, string>
    const { type = '', data = {} } = JSON.parse(body)
    const message = { id: headers['webhook-id'] ?? '', type, data, body, headers }
    this.messages.push(message)
    this.answer(request, response, message)
  }
}
