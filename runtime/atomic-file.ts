import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Makes a rename or creation in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What `writeFileAtomic` calls a file that is not complete; such files are garbage once their process has ended. */
export const temporarySuffix = '.tmp';

let written = 0;

/**
 * After a power cut the file has the old content or the new one, never a mixture: write, fsync, rename, fsync folder. Several may write
 * the same file at once, in this process or others: the last one stands.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array | readonly Uint8Array[], mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}.${++written}${temporarySuffix}`;
  try {
    const handle = await open(temporary, 'w', mode);
    try {
      for (const part of Array.isArray(data) ? (data as readonly Uint8Array[]) : [data as string | Uint8Array]) await handle.writeFile(part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}
