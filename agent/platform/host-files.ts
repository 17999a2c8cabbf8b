import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Small files of the operating system (`/sys`, `/proc`). Files are often absent, so every reader then answers null or an empty list. */
export interface HostFiles {
  /** The trimmed text; null when the file is absent, unreadable, or larger than any of these files is. */
  text(path: string): Promise<string | null>;
  /** A finite number, or null. */
  number(path: string): Promise<number | null>;
  /** Names in a folder, naturally sorted. */
  list(path: string): Promise<string[]>;
}

const LARGEST_FILE_BYTES = 64 * 1024;

/** @param root replaces `/`, so that tests can describe a machine of their own */
export function hostFiles(root = '/'): HostFiles {
  const text = async (path: string): Promise<string | null> => {
    try {
      const content = await readFile(join(root, path), 'utf8');
      return content.length > LARGEST_FILE_BYTES ? null : content.trim();
    } catch {
      return null; // The file is absent, or may not be read. Both mean that this machine does not offer it.
    }
  };
  return {
    text,
    number: async (path) => {
      const content = await text(path);
      const value = content === null || content === '' ? NaN : Number(content);
      return Number.isFinite(value) ? value : null;
    },
    list: async (path) => {
      try {
        return (await readdir(join(root, path))).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
      } catch {
        return [];
      }
    },
  };
}
