// The packed library's JavaScript: the modules of dist/ joined into some two hundred files, by what is needed together. Loading nine hundred
// small modules one by one takes longer than running most commands, and each repeats the names of what it imports.
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';

/** Modules that are opened by their path: what package.json exports, programs, and what runs in a thread or process of its own. */
const entries = [
  'runtime/index', 'kernels/binding/index', 'runtime/media/index', 'runtime/pipeline/index', 'runtime/package/index',
  'agent/main', 'agent/doctor/main', 'agent/calibration/main', 'agent/inference/candidate-main', 'agent/inference/shadow-main',
  'deploy/cli/main', 'deploy/demo/device-child',
];
/** The process that adapts is a bundle in a checkout too, of this name (scripts/bundle-worker.mjs). The thread that compiles is the checkout's own. */
const bundled = { 'agent/inference/adapt-main.bundle': 'agent/inference/adapt-main' };

const moduleUrl = '\0module-url';

/** `import.meta.url` stays the address of the module before it was joined with others: files beside it are found by that. */
const keepAddresses = (dist) => ({
  name: 'keep-addresses',
  resolveId: (id) => (id === moduleUrl ? id : undefined),
  load: (id) => (id === moduleUrl ? 'export const moduleUrl = (path) => new URL(`../${path}`, import.meta.url).href;' : undefined),
  transform: (code, id) => (id === moduleUrl || !code.includes('import.meta.url')
    ? undefined
    : `${code.replaceAll('import.meta.url', `moduleUrl(${JSON.stringify(relative(dist, id))})`)}\nimport { moduleUrl } from ${JSON.stringify(moduleUrl)};\n`),
});

/** Commands that need a checkout are not in the package; the command line says so before it imports one. */
const leaveOut = (absent) => ({
  name: 'leave-out',
  resolveId: (id, importer) => (importer !== undefined && id.startsWith('.') && absent.has(join(dirname(importer), id)) ? { id, external: true } : undefined),
});

/**
 * Bundles the compiled modules below `dist` into `out`, with what is shared in `out/chunks`. Names of functions and classes stay, so that stack
 * traces can be read. @param checkoutOnly paths below dist that are left out
 */
export async function bundle(dist, out, checkoutOnly) {
  const inputs = { ...Object.fromEntries(entries.map((entry) => [entry, entry])), ...bundled };
  const absent = new Set(checkoutOnly.map((path) => join(dist, path)));
  for (const path of absent) if (!existsSync(path)) throw new Error(`${path} is to be left out of the package, and does not exist`);
  const built = await rolldown({
    input: Object.fromEntries(Object.entries(inputs).map(([name, path]) => [name, join(dist, `${path}.js`)])),
    platform: 'node', external: /^[^.\0/]/, plugins: [keepAddresses(dist), leaveOut(absent)],
  });
  await built.write({
    dir: out, format: 'esm', entryFileNames: '[name].js', chunkFileNames: 'chunks/[name].js', keepNames: true,
    codeSplitting: { groups: [{ name: 'module-url', test: (id) => id === moduleUrl }] },
    minify: { compress: true, mangle: { toplevel: true, keepNames: { function: true, class: true } }, codegen: { removeWhitespace: true } },
  });
  await built.close();
}
