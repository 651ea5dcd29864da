import type { GitOrigin } from '../registry/git-origins.ts'

type Given = { home: string; proxy: string; origin: GitOrigin; token: string | null }

// A host that says nothing for so long is left.
const silentSec = 30
const leastBytesPerSec = 1000

/**
 * The whole environment of a git that fetches: no settings of the machine, of a person or of a repository's own, http and https only, everything through
 * the proxy. A token goes along with requests to the origin's own address and is in no argument, where others could read it.
 */
export function fetchEnvironment({ home, proxy, origin, token }: Given): Record<string, string> {
  const config: [string, string][] = [
    ['protocol.allow', 'never'],
    ['protocol.http.allow', 'always'],
    ['protocol.https.allow', 'always'],
    ['http.proxy', proxy],
    // Within a redirect a token would go where nobody sent it.
    ['http.followRedirects', token ? 'false' : 'initial'],
    ['http.lowSpeedLimit', String(leastBytesPerSec)],
    ['http.lowSpeedTime', String(silentSec)],
    ['core.hooksPath', '/dev/null'],
    ['core.bigFileThreshold', '32m'],
    ['core.attributesFile', '/dev/null'],
    ['credential.helper', ''],
    ['fetch.fsckObjects', 'true'],
    ...lenient.map((finding): [string, string] => [`fetch.fsck.${finding}`, 'warn']),
    ['fetch.unpackLimit', '1'],
    ['submodule.recurse', 'false'],
    ['transfer.bundleURI', 'false'],
    ['gc.auto', '0'],
    ['tar.umask', '022'],
    ...(token ? [[`http.${origin.url}.extraHeader`, `Authorization: ${basic(token)}`] satisfies [string, string]] : []),
  ]
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    HOME: home,
    LC_ALL: 'C.UTF-8',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '/bin/false',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_ALLOC_LIMIT: '128m',
    ...Object.fromEntries(
      config.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${index}`, key],
        [`GIT_CONFIG_VALUE_${index}`, value],
      ]),
    ),
    GIT_CONFIG_COUNT: String(config.length),
  }
}

// Findings in the history of old real repositories that harm nobody: those that a push may have too.
const lenient = [
  'zeroPaddedFilemode',
  'badTimezone',
  'missingSpaceBeforeDate',
  'missingNameBeforeEmail',
  'missingEmail',
  'badFilemode',
]

// GitHub, Gitea, Forgejo and GitLab take a token as the password of anybody.
function basic(token: string): string {
  return `Basic ${Buffer.from(`oauth2:${token}`).toString('base64')}`
}
