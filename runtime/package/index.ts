export { buildPackage, manifestPath, openPackage, writePackage } from './package.js';
export type { ModelPackage, WrittenPackage } from './package.js';
export { manifestInputSchema, manifestSchema } from './manifest.js';
export type { ManifestInput, PackageFile, PackageManifest } from './manifest.js';
export { selfTest } from './self-test.js';
export type { SelfTestOptions, SelfTestReport } from './self-test.js';
