import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { HostNpm } from './host-npm.ts'

export type BuildEnvParts = {
  node: string
  /** Folders for PATH, first the pinned node. */
  bins: string[]
  home: string
  tmp: string
  /** This app's own downloads, kept between its builds. */
  downloads: string
  /** Null: nothing will be installed. */
  npm: HostNpm | null
  /** How programs reach the network; empty where they will not. */
  network: Record<string, string>
  /** build.env of the config; may be overruled by the app's variables. */
  configEnv: Record<string, string>
  /** The app's variables that builds may see. */
  appEnv: Record<string, string>
}

/**
 * The whole environment of an app's build: nothing of the platform's own. What says where things are (PATH, HOME, caches) is not the
 * app's to change. NODE_ENV is left to each step: installs need devDependencies, builds are for production.
 */
export function buildEnv({
  node,
  bins,
  home,
  tmp,
  downloads,
  npm,
  network,
  configEnv,
  appEnv,
}: BuildEnvParts): Record<string, string> {
  return {
    LANG: 'C.UTF-8',
    CI: 'true',
    NO_COLOR: '1',
    ...(npm ? patience : {}),
    ...configEnv,
    ...appEnv,
    PATH: [...bins, '/usr/local/bin', '/usr/bin', '/bin'].join(':'),
    HOME: home,
    TMPDIR: tmp,
    ...(npm ? packageManagerEnv(downloads, npm) : {}),
    ...network,
    ...headersEnv(node),
  }
}

// A registry that is away for a moment is asked again; one that says nothing would hold up a build for minutes each time.
const patience = {
  npm_config_fetch_retries: '3',
  npm_config_fetch_retry_mintimeout: '1000',
  npm_config_fetch_retry_maxtimeout: '15000',
  npm_config_fetch_timeout: '60000',
}

// Native add-ons are compiled against the headers that came with Node, where they can be read; else node-gyp fetches them.
function headersEnv(node: string): Record<string, string> {
  const folder = dirname(dirname(node))
  return existsSync(join(folder, 'include/node/node.h')) ? { npm_package_config_node_gyp_nodedir: folder } : {}
}

function packageManagerEnv(downloads: string, { registry, cafile, extraCa }: HostNpm): Record<string, string> {
  return {
    npm_config_registry: registry,
    npm_config_cache: join(downloads, 'npm'),
    npm_config_update_notifier: 'false',
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_progress: 'false',
    YARN_CACHE_FOLDER: join(downloads, 'yarn'),
    YARN_GLOBAL_FOLDER: join(downloads, 'yarn-berry'),
    YARN_NPM_REGISTRY_SERVER: registry.replace(/\/$/, ''),
    YARN_ENABLE_TELEMETRY: '0',
    BUN_INSTALL_CACHE_DIR: join(downloads, 'bun'),
    BUN_CONFIG_REGISTRY: registry,
    DO_NOT_TRACK: '1',
    // node_modules is what the bundle holds and what an app finds at run time; Plug'n'Play has neither.
    YARN_NODE_LINKER: 'node-modules',
    ...(registry.startsWith('http://') ? { YARN_UNSAFE_HTTP_WHITELIST: new URL(registry).hostname } : {}),
    ...(cafile ? { npm_config_cafile: cafile, YARN_HTTPS_CA_FILE_PATH: cafile } : {}),
    ...(extraCa ? { NODE_EXTRA_CA_CERTS: extraCa } : {}),
  }
}
