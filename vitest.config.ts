import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Test files share a process's modules: loading them anew for each of the files takes longer than most files' tests.
    isolate: false,
    // What commands keep for their user does not belong to the user who tests.
    env: { STERNA_FLEET_DIR: join(tmpdir(), `sterna-tests-${process.pid}`) },
    setupFiles: ['test/support/property-seed.ts'],
    // Bounds for what hangs, not expectations: machines that test are slow and shared.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000 } },
    // Two cores: native threads and child processes share them with the workers.
    maxWorkers: 2,
  },
});
