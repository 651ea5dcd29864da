export type GitSettings = { hooksDir: string; maxPackBytes: number }

/** The whole environment of every git: nothing of the host's or a person's settings, and the rules a pushed repository cannot change. */
export function gitEnvironment(settings: GitSettings): NodeJS.ProcessEnv {
  return { ...baseEnvironment(), ...asEnvironment(configOf(settings)) }
}

function baseEnvironment(): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    HOME: '/nonexistent',
    LC_ALL: 'C.UTF-8',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    GIT_OPTIONAL_LOCKS: '0',
    // For one piece of memory. A megabyte of pack can hold a gigabyte of zeros and a difference to it, and git would hold both whole.
    GIT_ALLOC_LIMIT: '128m',
  }
}

function configOf({ hooksDir, maxPackBytes }: GitSettings): [string, string][] {
  return [
    ['core.hooksPath', hooksDir],
    ['core.logAllRefUpdates', 'false'],
    ['safe.bareRepository', 'explicit'],
    // Repositories are the gateway's own, made by it; after a restored backup they may belong to another user.
    ['safe.directory', '*'],
    ['protocol.allow', 'never'],
    // By default git syncs packs but neither loose objects nor refs: a power cut could leave a branch that points nowhere. 20 ms a push.
    ['core.fsync', 'committed,reference'],
    ['core.fsyncMethod', 'batch'],
    ['gc.auto', '0'],
    // Larger files are streamed instead of being held in memory, where a small pack could make them half a gigabyte.
    ['core.bigFileThreshold', '32m'],
    ['core.deltaBaseCacheLimit', '48m'],
    ['pack.windowMemory', '64m'],
    ['tar.umask', '022'],
    ['transfer.fsckObjects', 'true'],
    // Findings in the history of old real repositories that harm nobody.
    ...[
      'zeroPaddedFilemode',
      'badTimezone',
      'missingSpaceBeforeDate',
      'missingNameBeforeEmail',
      'missingEmail',
      'badFilemode',
    ].map((finding): [string, string] => [`receive.fsck.${finding}`, 'warn']),
    ['receive.autogc', 'false'],
    ['receive.maxInputSize', String(maxPackBytes)],
    ['receive.advertisePushOptions', 'true'],
    ['receive.advertiseAtomic', 'false'],
    // Everything but a tag goes through proc-receive (a=add, d=delete, m=modify, !=other than): so nothing that pre-receive should
    // have refused could slip past it.
    ['receive.procReceiveRefs', 'adm!:refs/tags'],
  ]
}

function asEnvironment(config: [string, string][]): NodeJS.ProcessEnv {
  const pairs = config.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ])
  return { ...Object.fromEntries(pairs), GIT_CONFIG_COUNT: String(config.length) }
}
