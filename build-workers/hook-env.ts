import { appUrl, type Config } from '../registry/config.ts'
import type { Deployment } from '../registry/deployments.ts'
import type { AppConfig } from './app-config.ts'

const names = ['APP_ID', 'VERSION', 'PREVIOUS_VERSION', 'ENVIRONMENT', 'URL']

/** What every hook is told; `previous` is the other version, null: there is none. Values only ever travel as variables. */
export function hookEnv(
  { appId, version, environment, label }: Deployment,
  previous: string | null,
  config: Config,
): Record<string, string> {
  return {
    APP_ID: appId,
    VERSION: version,
    PREVIOUS_VERSION: previous ?? '',
    ENVIRONMENT: environment,
    URL: appUrl(config, label),
  }
}

/** A sentence about variables of the app's own that hooks do not see because one of theirs has the name; null: there are none. */
export function describeClash({ hooks }: AppConfig, own: Record<string, string>): string | null {
  const clashing = names.filter((name) => Object.hasOwn(own, name))
  const hasHooks = Object.entries(hooks).some(([name, command]) => name !== 'timeoutSec' && command)
  if (!hasHooks || clashing.length === 0) return null
  const which = clashing.join(' and ')
  return `${which}: hooks get the platform’s value, not the app’s own of that name; rename yours to have both`
}
