// Before npm packs: dist/ is built, and holds nothing of sources that are gone.
import { readdirSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureSetup, root } from './lib/setup.mjs';

ensureSetup({ everyCpu: true });
for (const entry of readdirSync(join(root, 'dist'), { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !/\.(js|d\.ts)(\.map)?$/.test(path) || path.includes('.bundle.js')) continue;
  const source = join(root, path.slice(join(root, 'dist').length).replace(/\.(js|d\.ts)(\.map)?$/, '.ts'));
  if (!existsSync(source)) rmSync(path);
}
