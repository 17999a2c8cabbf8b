import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hostFiles, type HostFiles } from '../../../agent/platform/host-files.js';
import { temporaryFolder } from './tools.js';

/** A machine made of files. */
export function machine(files: Record<string, string | number>): { files: HostFiles; set: (path: string, value: string | number) => void } {
  const root = temporaryFolder();
  const set = (path: string, value: string | number): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${value}\n`);
  };
  for (const [path, value] of Object.entries(files)) set(path, value);
  return { files: hostFiles(root), set };
}
