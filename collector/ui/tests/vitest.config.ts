// Browser tests: the real page in real Chromium, on the real collector. `npm run test:browser` after `make all`.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: 'tests/suite.ts',
    root: new URL('..', import.meta.url).pathname,
    // One at a time: the model, the collector and Chromium share the cores.
    fileParallelism: false,
    testTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    hookTimeout: 120_000,
  },
});
