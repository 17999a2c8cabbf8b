// What `npm test -- --quick` leaves out: suites and test files that take most of the time. `npm test` runs them all.
export const slowTests = {
  suites: [
    'kernels emulated at source level', 'kernels on a CPU without AVX under qemu', 'kernels on aarch64 under qemu', 'execution ledger of the kernels',
    'kernels under AddressSanitizer and UndefinedBehaviorSanitizer', 'program loader, fuzzed programs', 'symbols and instructions of the ISA objects',
  ],
  // Whole programs, browsers, videos, power cuts, real networks, thousands of hostile inputs.
  files: [
    'test/e2e/**', 'test/fuzz/**', 'test/agent/powercut/**', 'test/agent/agent.test.ts', 'test/agent/whole-daemon.test.ts', 'test/agent/attack.test.ts', 'test/agent/pipelines/**', 'test/agent/outbox/**', 'test/agent/ota/manager.test.ts', 'test/agent/inference/**',
    'test/deploy/page.test.ts', 'test/deploy/demo.test.ts', 'test/deploy/publish/**', 'test/deploy/cli/models.test.ts', 'test/deploy/cli/run.test.ts', 'test/deploy/bench/**',
    'test/deploy/compress/**', 'test/deploy/package/**', 'test/deploy/conformance/**', 'test/runtime/onnx/hostile.test.ts', 'test/runtime/quantize/**',
    'test/runtime/media/source.test.ts', 'test/runtime/pipeline/gallery-key.test.ts', 'test/runtime/vision/decoders/**', 'test/runtime/engines/native.test.ts', 'test/runtime/models.test.ts', 'test/runtime/ops/**', 'test/runtime/cache/**',
    'test/scripts/**',
  ],
};
