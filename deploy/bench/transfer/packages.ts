import { createHash } from 'node:crypto';
import { MAX_BLOCK_BYTES } from '../../../agent/contracts/index.js';
import { uniform } from '../../compress/random.js';
import { buildPipelinePackage } from '../../package/build.js';
import { ServedPackage, type HeldPackage } from '../../publish/packages.js';
import { generatedNets } from '../nets.js';

/** A package that devices can install: a classifier with random weights, of about 6 MB. */
export async function classifierPackage(version: string): Promise<HeldPackage> {
  const classifier = generatedNets['mobilenet_v3_small']?.() ?? new Uint8Array(0);
  const { manifest, bytes, sha256 } = await buildPipelinePackage('classification', { classifier }, { name: 'bench', version, releaseCounter: Number(version.split('.')[0]) });
  return { name: manifest.name, version, releaseCounter: manifest.release_counter, digest: sha256, bytes };
}

/** So many bytes that no compression makes smaller. They are no package: a device refuses them when all are there, which is enough to measure their way. */
export function noisePackage(sizeBytes: number, seed: number): HeldPackage {
  const next = uniform(seed);
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.floor(next() * 2 ** 32);
  const bytes = new Uint8Array(words.buffer, 0, sizeBytes);
  return { name: 'noise', version: `${seed}.0.0`, releaseCounter: seed, digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}

/** Bytes of all messages with which a package travels to a device that has nothing of it: its list of chunks, and every chunk once. */
export function wireBytes(held: HeldPackage): number {
  const served = new ServedPackage(held);
  const { chunks } = served;
  if (chunks === undefined) return messageBytes(served, { digest: held.digest, size_bytes: held.bytes.byteLength });
  return messageBytes(served, { ...chunks, list_of: held.digest }) + messageBytes(served, { digest: held.digest, size_bytes: held.bytes.byteLength, chunks: chunks.digest });
}

function messageBytes(served: ServedPackage, wanted: Omit<Parameters<ServedPackage['pieces']>[0], 'block_bytes'>): number {
  const pieces = served.pieces({ ...wanted, block_bytes: MAX_BLOCK_BYTES });
  return Array.from({ length: pieces?.count ?? 0 }, (_, index) => pieces?.message(index).byteLength ?? 0).reduce((sum, bytes) => sum + bytes, 0);
}
