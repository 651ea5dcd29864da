import { apiUrl, type Config, consoleUrl } from '../../registry/config.ts'
import { writePrivately } from './private-file.ts'

/** What atelier.json says. `pid` is the supervisor's, null when the platform has been stopped. */
export type Addresses = {
  api: string
  git: string
  console: string
  domain: string
  appsDomain: string
  ports: { http: number }
  pid: number | null
}

export function addressesOf(config: Config, pid: number | null): Addresses {
  const api = apiUrl(config)
  return {
    api,
    git: api.replace('//api.', '//git.'),
    console: consoleUrl(config),
    domain: config.domain,
    appsDomain: config.appsDomain,
    ports: { http: config.httpPort },
    pid,
  }
}

/** Other commands find the platform of this machine by this file. */
export async function writeAddresses(file: string, addresses: Addresses): Promise<void> {
  await writePrivately(file, `${JSON.stringify(addresses, null, 2)}\n`)
}
