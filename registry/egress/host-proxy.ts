import { once } from 'node:events'
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Socket } from 'node:net'
import { domainToASCII } from 'node:url'

type Env = Record<string, string | undefined>

/** Through which proxy this machine reaches the world, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case. */
export type HostProxy = {
  /** The proxy that leads to this place; null: it is reached directly. */
  for(host: string, port: number): URL | null
}

/** Variables that name no usable proxy are as if they were not set. */
export function readHostProxy(env: Env): HostProxy {
  const named = (...names: string[]) =>
    names
      .flatMap((name) => [env[name], env[name.toUpperCase()]])
      .map((value) => parseProxy(value ?? ''))
      .find((url) => url !== null) ?? null
  const plain = named('http_proxy', 'all_proxy')
  const secure = named('https_proxy', 'all_proxy')
  const exceptions = (env['no_proxy'] ?? env['NO_PROXY'] ?? '').split(/[\s,]+/).filter(Boolean)
  return {
    for: (host, port) =>
      exceptions.some((exception) => isExcepted(host, port, exception)) ? null : port === 80 ? plain : secure,
  }
}

/**
 * A connection through the proxy to the place, as raw bytes. Throws when the proxy cannot be reached or answers anything but 200.
 */
export async function connectThrough(
  proxy: URL,
  { host, port }: { host: string; port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const credentials = proxy.username
    ? Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')
    : null
  const asked = (proxy.protocol === 'https:' ? requestHttps : requestHttp)({
    host: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, ...(credentials && { 'proxy-authorization': `Basic ${credentials}` }) },
    agent: false,
    signal,
  })
  asked.end()
  const answered = once(asked, 'connect', { signal })
  const refused = once(asked, 'response', { signal }).then(([response]) => [response])
  const [response, socket, head] = await Promise.race([answered, refused])
  if (!socket || response.statusCode !== 200) {
    asked.destroy()
    throw new Error(`the host’s proxy ${proxy.host} answered ${response.statusCode}`)
  }
  if (head.length > 0) socket.unshift(head)
  return socket
}

function parseProxy(text: string): URL | null {
  const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`)
  return text && url && /^https?:$/.test(url.protocol) && url.hostname ? url : null
}

// `*`, a name (it and all below it), `.suffix`, `*.suffix`, each with `:port` or without, as curl and Node read it.
function isExcepted(host: string, port: number, exception: string): boolean {
  if (exception === '*') return true
  const [, place = '', only] = /^(\[.*\]|[^:]*|.*:.*:.*?)(?::(\d+))?$/.exec(exception) ?? []
  if (only && Number(only) !== port) return false
  const name = place.replace(/^\[|\]$/g, '').replace(/^\*?\./, '')
  const wanted = domainToASCII(name) || name
  return host === wanted || host.endsWith(`.${wanted}`)
}
