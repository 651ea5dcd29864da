import type { Deployment } from '../registry/deployments.ts'
import type { AppConfig } from './app-config.ts'
import { isWithin } from './app-parts.ts'
import type { SourceTree } from './source-tree.ts'

const largestText = 1_048_576
const mostRead = 64 * 1_048_576
const runsPrograms = /(^|\/)(package\.json|atelier\.config\.\w+)$/
const noText =
  /(^|\/)node_modules\/|\.(avif|bmp|br|eot|gif|gz|ico|jpe?g|mp[34]|otf|pdf|png|tgz|ttf|webm|webp|woff2?|zip|zst)$/i
// ATELIER_VERSION and ATELIER_DEPLOYMENT are another with each push. A name that is put together (`ATELIER_${…}`, a prefix) may be theirs.
const named = /ATELIER_(?!(APP|ENVIRONMENT|BRANCH)(?![A-Z0-9_]))/

/**
 * Whether the app's own files name a variable that is another with each push. Only then are its builds given these: what a build is not told cannot be in
 * what it makes, so another commit with the same files needs no build of its own. `unused`: folders that the app has nothing to do with.
 */
export function namesVersion(tree: SourceTree, unused: string[] = []): boolean {
  const paths = [...tree.paths()].filter((path) => !isWithin(path, unused))
  if (!paths.some((path) => runsPrograms.test(path))) return false
  let left = mostRead
  for (const path of paths) {
    if (noText.test(path)) continue
    const bytes = tree.readBytes(path)
    if (!bytes || bytes.length > largestText) continue
    left -= bytes.length
    if (left < 0 || named.test(bytes.toString('latin1'))) return true
  }
  return false
}

/** What builds are told of a deployment, and what comes before it is put live. */
export function describeDeployment(deployment: Deployment): Record<string, string> {
  return { ...describePlace(deployment), ATELIER_VERSION: deployment.version, ATELIER_DEPLOYMENT: deployment.id }
}

/** The same, without what is another with each push. */
export function describePlace({ appId, environment, branch }: Deployment): Record<string, string> {
  return { ATELIER_APP: appId, ATELIER_ENVIRONMENT: environment, ATELIER_BRANCH: branch }
}

/** Whether hooks run while it is built: they are told the version. */
export function runsHooks({ hooks }: AppConfig): boolean {
  return hooks.preBuild !== undefined || hooks.postBuild !== undefined
}
