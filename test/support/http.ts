import { Agent, type IncomingHttpHeaders, request } from 'node:http'

export type Answer = { status: number; headers: IncomingHttpHeaders; body: string }
export type Ask = {
  method?: string
  headers?: Record<string, string>
  body?: string | Buffer
  agent?: Agent
  timeoutMs?: number
}

/** One HTTP request to this machine's edge for a host name: names below `localhost` are not known to every resolver. */
export function ask(port: number, host: string, path: string, options: Ask = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body, agent = new Agent(), timeoutMs = 30_000 } = options
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method,
        agent,
        headers: { host: `${host}:${port}`, ...headers },
        timeout: timeoutMs,
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.once('error', reject)
        response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
      },
    )
    sent.once('timeout', () => sent.destroy(new Error(`${host}${path} did not answer within ${timeoutMs} ms`)))
    sent.once('error', reject)
    sent.end(body)
  })
}
