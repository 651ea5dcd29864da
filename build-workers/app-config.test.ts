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
      healthCheck: {
        path: '/',
        timeoutSec: 5,
        routes: { sample: 4, paths: ['/a?b=1'], except: ['/admin/*', '/:x/y'] },
      },
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
    healthCheck: { timeoutSec: 5, routes: { sample: 12, paths: [], except: [] } },
  })
  expect(readAppConfig({ deployments: { canary: 'skip' } }).problems).toEqual([])
})

test('a rollout that is only named has every default, and every knob can be set', () => {
  expect(readAppConfig({ deployments: { canary: {} } }).config?.deployments.canary).toEqual({
    stages: [5, 25, 50, 100],
    observationWindowSec: 300,
    autoRollback: {
      errorRateThreshold: 0.02,
      latencyP95Threshold: 1.5,
      latencyFloorMs: 20,
      falseRollbackRate: 0.01,
      warmupSec: 30,
      minRequests: 100,
      lowTraffic: 'proceed',
    },
  })
  const set = {
    stages: [1, 100],
    observationWindowSec: 60,
    autoRollback: {
      errorRateThreshold: 0,
      latencyP95Threshold: 3,
      latencyFloorMs: 0,
      falseRollbackRate: 0.05,
      warmupSec: 5,
      minRequests: 10,
      lowTraffic: 'hold',
    },
  }
  expect(readAppConfig({ deployments: { canary: set } })).toMatchObject({
    config: { deployments: { canary: set } },
    problems: [],
  })
})

test.each<[string, unknown, string[]]>([
  [
    'transforms that are not there, or not so',
    {
      build: {
        transforms: {
          tree_shake: true,
          env_inline: 'yes',
          import_strip: { server: ['a b'] },
          barrel_optimize: ['../x'],
        },
      },
    },
    [
      "build.transforms.env_inline: must be true or false, not 'yes'",
      'build.transforms.import_strip.server[0]: must be the name of a package, such as @mui/material',
      'build.transforms.barrel_optimize[0]: must be the name of a package, such as @mui/material',
      'build.transforms.tree_shake: there is no such setting (there are env_inline, import_strip, barrel_optimize)',
    ],
  ],
  [
    'a page that is no path',
    { build: { static: { paths: ['/', '/a//b', '/%2e%2e/c'] } } },
    ['build.static.paths[1]: has an empty part (//)', 'build.static.paths[2]: has . or .. in it'],
  ],
  [
    'stages that do not rise',
    { deployments: { canary: { stages: [5, 50, 25] } } },
    ['deployments.canary.stages[2]: must be greater than the stage before (50)'],
  ],
  [
    'stages of which there is none',
    { deployments: { canary: { stages: [] } } },
    ['deployments.canary.stages: must have at least 1'],
  ],
  [
    'stages above 100, of nothing, and in between',
    { deployments: { canary: { stages: [0, 2.5, 101] } } },
    [
      'deployments.canary.stages[0]: must be at least 1, not 0',
      'deployments.canary.stages[1]: must be a whole number, not 2.5',
      'deployments.canary.stages[2]: must be at most 100, not 101',
    ],
  ],
  [
    'a stage that stays where it is, and a window of a year',
    { deployments: { canary: { stages: [5, 5], observationWindowSec: 31_536_000 } } },
    [
      'deployments.canary.stages[1]: must be greater than the stage before (5)',
      'deployments.canary.observationWindowSec: must be at most 86400, not 31536000',
    ],
  ],
  [
    'a window of nothing',
    { deployments: { canary: { observationWindowSec: 0 } } },
    ['deployments.canary.observationWindowSec: must be at least 1, not 0'],
  ],
  [
    'knobs out of their bounds, all at once',
    {
      deployments: {
        canary: {
          autoRollback: {
            errorRateThreshold: 2,
            latencyP95Threshold: 0.5,
            latencyFloorMs: -1,
            falseRollbackRate: 0,
            warmupSec: -1,
            minRequests: 0.5,
            lowTraffic: 'promote',
          },
        },
      },
    },
    [
      'deployments.canary.autoRollback.errorRateThreshold: must be at most 1, not 2',
      'deployments.canary.autoRollback.latencyP95Threshold: must be at least 1, not 0.5',
      'deployments.canary.autoRollback.latencyFloorMs: must be at least 0, not -1',
      'deployments.canary.autoRollback.falseRollbackRate: must be at least 0.0001, not 0',
      'deployments.canary.autoRollback.warmupSec: must be at least 0, not -1',
      'deployments.canary.autoRollback.minRequests: must be a whole number, not 0.5',
      "deployments.canary.autoRollback.lowTraffic: must be 'proceed' or 'wait' or 'hold', not 'promote'",
    ],
  ],
  [
    'no number where one is due',
    { deployments: { canary: { observationWindowSec: Number.NaN, autoRollback: { falseRollbackRate: '1%' } } } },
    [
      'deployments.canary.observationWindowSec: must be a number, not NaN',
      "deployments.canary.autoRollback.falseRollbackRate: must be a number, not '1%'",
    ],
  ],
  [
    'a warm-up as long as the window',
    { deployments: { canary: { observationWindowSec: 20, autoRollback: { warmupSec: 20 } } } },
    [
      'deployments.canary.autoRollback.warmupSec: must be shorter than observationWindowSec (20), or no latency would be looked at',
    ],
  ],
  [
    'a misspelt knob',
    { deployments: { canary: { autoRollback: { minRequest: 5 } } } },
    ['deployments.canary.autoRollback.minRequest: there is no such setting; did you mean minRequests?'],
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
    'more isolates than there may be',
    { deployments: { maxIsolates: 5 } },
    ['deployments.maxIsolates: must be at most 4, not 5'],
  ],
  [
    'a time to sleep that is none',
    { deployments: { sleepAfterMin: 0 } },
    ['deployments.sleepAfterMin: must be a number of idle minutes, at least 1, or false'],
  ],
  [
    'routes that are no patterns, and a setting that is none',
    { deployments: { healthCheck: { routes: { except: ['/a*b*'], path: ['/'] } } } },
    [
      'deployments.healthCheck.routes.except[0]: must be a path, with :name and one * at most, such as /admin/*',
      'deployments.healthCheck.routes.path: there is no such setting; did you mean paths?',
    ],
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

test('I7: a config cannot reach prototypes', () => {
  readAppConfig(JSON.parse('{"__proto__":{"admin":true},"build":{"env":{"constructor":"x"}}}'))
  expect(Object.getOwnPropertyDescriptor(Object.prototype, 'admin')).toBeUndefined()
})
