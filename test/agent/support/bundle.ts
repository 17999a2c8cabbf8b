import { renameSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '../../..');
const folder = 'build/test-powercut';
export const deviceScript = resolve(root, folder, 'device.mjs');
export const recordingsScript = resolve(root, folder, 'recordings.mjs');
export const daemonScript = resolve(root, folder, 'daemon.mjs');
export const overlaysScript = resolve(root, folder, 'overlays.mjs');

/** The device of the power-cut tests, with all but native dependencies, so that it starts fast. */
export function bundleDevice(): Promise<void> {
  return bundle('test/agent/powercut/device.ts', deviceScript, { noExternal: true, external: ['better-sqlite3', 'sharp'] });
}

/** What keeps recordings until it is killed. */
export function bundleRecordings(): Promise<void> {
  return bundle('test/agent/recordings/child.ts', recordingsScript, { noExternal: true, external: ['better-sqlite3'] });
}

/** What accepts and gives up overlays until it is killed. */
export function bundleOverlays(): Promise<void> {
  return bundle('test/agent/adapt/overlays-child.ts', overlaysScript, { noExternal: true, external: [] });
}

/** A whole daemon on the fake runtime, with its dependencies left outside. */
export function bundleDaemon(): Promise<void> {
  return bundle('test/agent/support/daemon.ts', daemonScript, { external: true });
}

/** Node runs no TypeScript, so what runs in a process of its own is bundled. Test files that run side by side do not meet. */
async function bundle(entry: string, target: string, ssr: { noExternal?: true; external: string[] | true }): Promise<void> {
  const name = `bundle-${process.pid}.mjs`;
  await build({
    root, logLevel: 'error', configFile: false, ssr,
    build: {
      ssr: resolve(root, entry), outDir: folder, emptyOutDir: false, target: 'node20',
      rollupOptions: { output: { entryFileNames: name, codeSplitting: false } },
    },
  });
  renameSync(resolve(root, folder, name), target);
}
