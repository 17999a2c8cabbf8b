/** The native core as TypeScript sees it. See kernels/README.md. */
export { SternaError, KernelError, kernelErrorCodes, type KernelErrorCode } from './errors.js';
export * from './native.js';
export * from './affinity.js';
export { addonBuild } from './load.js';
