import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/property-seed.ts'],
    testTimeout: 30_000,
    // Two cores: native threads and child processes share them with the workers.
    maxWorkers: 2,
  },
});
