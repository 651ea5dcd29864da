import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/full/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // A state that is waited for comes when it comes; on a busy machine later.
    expect: { poll: { timeout: 20_000, interval: 25 } },
    fileParallelism: false,
    testTimeout: 1_200_000,
    hookTimeout: 300_000,
  },
})
