import { renameSync } from 'node:fs';
import { resolve } from 'node:path';
import { build } from 'vite';

const root = resolve(import.meta.dirname, '../../..');
const folder = 'build/test-powercut';
export const deviceScript = resolve(root, folder, 'device.mjs');

/** Node runs no TypeScript: the device is bundled once, with all but native dependencies, so that it starts fast. Test files that run side by side do not meet. */
export async function bundleDevice(): Promise<void> {
  const name = `device-${process.pid}.mjs`;
  await build({
    root, logLevel: 'error', configFile: false,
    ssr: { noExternal: true, external: ['better-sqlite3', 'sharp'] },
    build: {
      ssr: resolve(import.meta.dirname, 'device.ts'), outDir: folder, emptyOutDir: false, target: 'node20',
      rollupOptions: { output: { entryFileNames: name } },
    },
  });
  renameSync(resolve(root, folder, name), deviceScript);
}
