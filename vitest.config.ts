import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', 'examples/**', 'test/fixtures/**', 'test/full/**'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // Tests wait more than they compute: half of the time on two cores is somebody else's.
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A machine that is busy is no failure: what is waited for either comes or does not.
    expect: { poll: { timeout: 20_000 } },
  },
})
