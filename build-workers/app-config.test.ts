import { expect, test } from 'vitest'
import { readAppConfig } from './app-config.ts'

test('the config of the documentation is accepted, and an empty one gives every default', () => {
  const full = readAppConfig({
    build: {
      bundler: 'esbuild',
      entry: './src/index.ts',
      output: 'dist/',
      script: 'scripts/build.sh',
      env: { NEXT_PUBLIC_API_URL: 'https://api.example.com' },
      static: { enabled: true, concurrent: 4, paths: ['/'] },
    },
    deployments: {
      canary: {
        stages: [5, 25, 50, 100],
        observationWindowSec: 300,
        autoRollback: { errorRateThreshold: 0.02, latencyP95Threshold: 1.5 },
      },
      keepVersions: 10,
      drainTimeoutSec: 30,
      healthCheck: { path: '/', timeoutSec: 5 },
    },
    database: { provision: true, migrations: 'migrations' },
    hooks: {
      preBuild: 'true',
      postBuild: 'true',
      preDeploy: 'true',
      postDeploy: 'true',
      onRollback: 'true',
      timeoutSec: 60,
    },
  })
  expect(full.problems).toEqual([])
  expect(full.config?.build).toMatchObject({ entry: 'src/index.ts', output: 'dist' })

  const empty = readAppConfig({})
  expect(empty.config?.deployments).toEqual({
    keepVersions: 10,
    drainTimeoutSec: 30,
    healthCheck: { timeoutSec: 5 },
  })
  expect(readAppConfig({ deployments: { canary: 'skip' } }).problems).toEqual([])
})

test.each<[string, unknown, string[]]>([
  [
    'stages that do not rise',
    { deployments: { canary: { stages: [5, 50, 25] } } },
    ['deployments.canary.stages[2]: must be greater than the stage before (50)'],
  ],
  ['a misspelt top key', { biuld: {} }, ['biuld: there is no such setting; did you mean build?']],
  [
    'a misspelt inner key',
    { build: { entri: 'a.js' } },
    ['build.entri: there is no such setting; did you mean entry?'],
  ],
  [
    'an unknown key without a near one',
    { hooks: { xyzzy: 1 } },
    [
      'hooks.xyzzy: there is no such setting (there are preBuild, postBuild, preDeploy, postDeploy, onRollback, timeoutSec)',
    ],
  ],
  [
    'a misspelt key in a union',
    { deployments: { canary: { stage: [1] } } },
    ['deployments.canary.stage: there is no such setting; did you mean stages?'],
  ],
  [
    'a wrong word for a union',
    { deployments: { canary: 'off' } },
    ["deployments.canary: must be 'skip' or an object { … }, not 'off'"],
  ],
  [
    'wrong types, all at once',
    { build: { env: { A: 3 }, output: true }, deployments: { keepVersions: '10' } },
    [
      'build.output: must be text in quotes, not true',
      'build.env.A: must be text in quotes, not 3',
      "deployments.keepVersions: must be a number, not '10'",
    ],
  ],
  [
    'a bundler that is not one',
    { build: { bundler: 'rollup' } },
    ["build.bundler: must be 'esbuild' or 'bun' or 'custom', not 'rollup'"],
  ],
  ['a path out of the app', { build: { entry: '../x.js' } }, ['build.entry: must be a path inside the app']],
  [
    'a number out of range',
    { deployments: { keepVersions: 0 } },
    ['deployments.keepVersions: must be at least 1, not 0'],
  ],
  [
    'a health path without a slash',
    { deployments: { healthCheck: { path: 'health' } } },
    ['deployments.healthCheck.path: must be a path that starts with /, such as /health'],
  ],
  [
    'an illegal name',
    { build: { env: { 'A-B': 'x' } } },
    ['build.env.A-B: the name must be a name such as VITE_API_URL'],
  ],
  ['no object at all', [], ['the config: must be an object { … }, not a list']],
  ['nothing', undefined, ['the config: must be an object { … }, not nothing']],
])('%s is named with its path', (_, value, problems) => {
  expect(readAppConfig(value)).toEqual({ config: null, problems })
})

test('a config cannot reach prototypes', () => {
  readAppConfig(JSON.parse('{"__proto__":{"admin":true},"build":{"env":{"constructor":"x"}}}'))
  expect(Object.getOwnPropertyDescriptor(Object.prototype, 'admin')).toBeUndefined()
})
