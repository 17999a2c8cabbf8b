import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    // Two cores: native threads and child processes share them with the workers.
    maxWorkers: 2,
  },
});
