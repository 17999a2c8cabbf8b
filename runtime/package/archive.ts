import { packTar, unpackTar } from 'modern-tar';
import { RuntimeError } from '../errors.js';

/** A file inside an archive. */
export interface ArchiveEntry {
  path: string;
  data: Uint8Array;
}

/** Hostile archives are refused before they cost memory. `bytes` bounds the archive, and what its files are when inflated. */
export const archiveLimits = { bytes: 256 * 2 ** 20, entries: 129 } as const;

/** The one form an archive may have: ustar, regular files, mode 0644, owner 0, time 0. Equal content gives equal bytes. */
export async function writeArchive(entries: readonly ArchiveEntry[]): Promise<Uint8Array> {
  return packTar(entries.map(({ path, data }) => ({
    header: { name: path, size: data.length, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) },
    body: data,
  })));
}

/**
 * Reads an archive that must be byte for byte what `writeArchive` makes of its entries. That one comparison refuses links,
 * devices, PAX and GNU extensions, odd modes and owners, hidden bytes in padding, trailing garbage and everything that
 * another tar reader might understand differently.
 * @throws RuntimeError E_PACKAGE
 */
export async function readArchive(bytes: Uint8Array): Promise<ArchiveEntry[]> {
  if (bytes.length > archiveLimits.bytes) {
    throw malformed(`Expected at most ${archiveLimits.bytes} bytes but received ${bytes.length}`);
  }
  if (bytes.length === 0 || bytes.length % 512 !== 0) {
    throw malformed(`Expected a tar archive of whole 512-byte blocks but received ${bytes.length} bytes (truncated?)`);
  }
  const entries: ArchiveEntry[] = [];
  for (const { header, data } of await unpack(bytes)) {
    if (header.type !== 'file') throw malformed(`Expected regular files only but received ${header.type ?? 'unknown'} "${header.name}"`);
    entries.push({ path: header.name, data: data ?? new Uint8Array(0) });
  }
  const canonical = await writeArchive(entries);
  if (!Buffer.from(canonical.buffer, canonical.byteOffset, canonical.length).equals(bytes)) {
    throw malformed('Expected the canonical archive form (ustar, mode 0644, owner 0, time 0, nothing after the end) but received other bytes');
  }
  return entries;
}

async function unpack(bytes: Uint8Array): ReturnType<typeof unpackTar> {
  let count = 0;
  const filter = (): boolean => {
    if (++count > archiveLimits.entries) throw malformed(`Expected at most ${archiveLimits.entries} files but received more`);
    return true;
  };
  try {
    return await unpackTar(bytes, { strict: true, filter });
  } catch (cause) {
    if (cause instanceof RuntimeError) throw cause;
    throw malformed(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function malformed(problem: string, cause?: unknown): RuntimeError {
  return new RuntimeError('E_PACKAGE', `The package archive cannot be read: ${problem}`, cause === undefined ? {} : { cause });
}
