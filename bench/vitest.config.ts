import { defineConfig } from 'vitest/config'

// The measurements use the tests' platform, so they run where the tests run; nothing is asserted.
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['all.ts'],
    globalSetup: '../test/support/global-setup.ts',
    testTimeout: 1_200_000,
    hookTimeout: 300_000,
    disableConsoleIntercept: true,
    expect: { poll: { timeout: 20_000 } },
  },
})
