import { isIP } from 'node:net'
import type { Config, EgressRule } from '../registry/config.ts'
import { Egress } from '../registry/egress/egress.ts'
import { readHostProxy } from '../registry/egress/host-proxy.ts'
import { BuildNetworks } from '../sandbox/network/build-network.ts'
import { type HostNpm, withNpmProxies } from './host-npm.ts'

type Env = Record<string, string | undefined>

/** The networks of builds: out of them lead the public internet, the host's package registry wherever it is, and what the settings allow. */
export function openBuildNetworks(
  { egressAllow }: Pick<Config, 'egressAllow'>,
  { npm, env }: { npm: () => Promise<HostNpm>; env: Env },
): BuildNetworks {
  const settings = async () => {
    const { registry, proxies } = await npm()
    return { rules: [...egressAllow, registryRule(registry)], hostProxy: readHostProxy(withNpmProxies(env, proxies)) }
  }
  return new BuildNetworks({ egress: new Egress({ settings }) })
}

/**
 * What makes a build's programs go through the relay: curl and most others by the plain names, npm and pnpm and Yarn by their own, Node's
 * `fetch` and `http` by NODE_USE_ENV_PROXY (which makes each Node start 60 ms slower). A build's own servers on localhost are reached
 * directly, unless the registry is on the host's localhost under the same name.
 */
export function relayEnv(proxy: string, registry: string | null): Record<string, string> {
  const elsewhere = registry && hostOf(registry)
  const direct = ['localhost', '127.0.0.1', '::1'].filter((host) => host !== elsewhere).join()
  return {
    HTTP_PROXY: proxy,
    HTTPS_PROXY: proxy,
    http_proxy: proxy,
    https_proxy: proxy,
    NO_PROXY: direct,
    no_proxy: direct,
    npm_config_proxy: proxy,
    npm_config_https_proxy: proxy,
    YARN_HTTP_PROXY: proxy,
    YARN_HTTPS_PROXY: proxy,
    NODE_USE_ENV_PROXY: '1',
  }
}

/** For builds in the host's network: its own proxy settings, as they are. */
export function hostProxyEnv(env: Env): Record<string, string> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()])
  const set = names.flatMap((name): [string, string][] => (env[name] ? [[name, env[name]]] : []))
  return set.length > 0 ? { ...Object.fromEntries(set), NODE_USE_ENV_PROXY: '1' } : {}
}

function hostOf(registry: string): string {
  return new URL(registry).hostname.replace(/^\[|\]$/g, '')
}

function registryRule(registry: string): EgressRule {
  const url = new URL(registry)
  const host = hostOf(registry)
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const version = isIP(host)
  if (version === 0) return { kind: 'host', host, port }
  return version === 4
    ? { kind: 'network', address: host, prefix: 32, family: 'ipv4', port }
    : { kind: 'network', address: host, prefix: 128, family: 'ipv6', port }
}
