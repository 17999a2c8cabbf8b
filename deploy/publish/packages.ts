import { readFile } from 'node:fs/promises';
import { DEFAULT_BLOCK_BYTES, blockCount, encodeBlock, type DesiredPackage, type PackageRef } from '../../agent/contracts/index.js';
import { openPackage } from '../../runtime/package/package.js';

/** A package that this publisher can serve. */
export interface HeldPackage {
  readonly name: string;
  readonly version: string;
  /** Of its manifest. */
  readonly releaseCounter: number;
  /** SHA-256 of `bytes`, lower-case hex. */
  readonly digest: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads and completely checks a package: what this side could not open, no device should have to download.
 * @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION
 */
export async function loadPackage(path: string): Promise<HeldPackage> {
  const { manifest, sha256 } = await openPackage(path);
  const bytes = await readFile(path);
  return { name: manifest.name, version: manifest.version, releaseCounter: manifest.release_counter, digest: sha256, bytes };
}

/** How `desired` names it. */
export function desiredPackage(held: HeldPackage, blockBytes = DEFAULT_BLOCK_BYTES): DesiredPackage {
  return desiredOf({ name: held.name, version: held.version, digest: held.digest, size_bytes: held.bytes.byteLength }, blockBytes);
}

/** How `desired` names a package that a device reports. */
export function desiredOf({ name, version, digest, size_bytes }: PackageRef, blockBytes = DEFAULT_BLOCK_BYTES): DesiredPackage {
  return { name, version, digest, size_bytes, block_bytes: blockBytes };
}

/** Block `index` of the package, ready for the wire. */
export function packageBlock(held: HeldPackage, index: number, blockBytes: number): Buffer {
  const start = index * blockBytes;
  const payload = held.bytes.subarray(start, start + blockBytes);
  return encodeBlock({ index, last: index === blockCount(held.bytes.byteLength, blockBytes) - 1, payload });
}
