import { createHash } from 'node:crypto';
import { ChunkList, chunkListOf, MAX_BLOCK_BYTES } from '../../../agent/contracts/index.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { uniform } from '../../compress/random.js';
import { buildPipelinePackage } from '../../package/build.js';
import { ServedPackage, type HeldPackage } from '../../publish/packages.js';
import { generatedNets } from '../nets.js';

export interface ClassifierOptions {
  net?: string;
  /** Of the settings of the pipeline. */
  scoreThreshold?: number;
  /** Other random weights for the last layer. */
  lastLayerSeed?: number;
}

/** A package that devices can install: a classifier with random weights, by default of 5.6 MB. */
export async function classifierPackage(version: string, { net = 'mobilenet_v3_small', scoreThreshold, lastLayerSeed }: ClassifierOptions = {}): Promise<HeldPackage> {
  const model = generatedNets[net]?.() ?? new Uint8Array(0);
  const classifier = lastLayerSeed === undefined ? model : withLastLayer(model, lastLayerSeed);
  const { manifest, bytes, sha256 } = await buildPipelinePackage('classification', { classifier }, {
    name: 'bench', version, releaseCounter: Number(version.split('.')[0]), ...(scoreThreshold === undefined ? {} : { overrides: { score_threshold: scoreThreshold } }),
  });
  return { name: manifest.name, version, releaseCounter: manifest.release_counter, digest: sha256, bytes };
}

function withLastLayer(bytes: Uint8Array, seed: number): Uint8Array {
  const model = parseModel(bytes);
  const next = uniform(seed);
  const initializers = new Map([...model.graph.initializers].map(([name, value]) => (
    name === 'classifier.weight' && value.dtype === 'float32' ? [name, { ...value, data: Float32Array.from({ length: value.data.length }, () => 0.1 * (2 * next() - 1)) }] as const : [name, value] as const)));
  return serializeModel({ ...model, graph: { ...model.graph, initializers } });
}

/** So many bytes that no compression makes smaller. They are no package: a device refuses them when all are there, which is enough to measure their way. */
export function noisePackage(sizeBytes: number, seed: number): HeldPackage {
  const next = uniform(seed);
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.floor(next() * 2 ** 32);
  const bytes = new Uint8Array(words.buffer, 0, sizeBytes);
  return { name: 'noise', version: `${seed}.0.0`, releaseCounter: seed, digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}

/**
 * Bytes of all messages with which a package travels to a device that has another package, or none: the list of chunks, and once each chunk that the
 * device lacks.
 */
export function wireBytes(held: HeldPackage, known: Uint8Array | null = null): number {
  const served = new ServedPackage(held);
  const { chunks } = served;
  const written = chunkListOf(held.bytes);
  if (chunks === undefined || written === null) throw new Error(`${held.name} is too small to have chunks`);
  const here = new Set(known === null ? [] : hashesOf(known));
  const size = { digest: held.digest, size_bytes: held.bytes.byteLength, block_bytes: MAX_BLOCK_BYTES };
  const pieces = served.pieces({ ...size, chunks: chunks.digest });
  const list = served.pieces({ ...size, ...chunks, list_of: held.digest });
  const listBytes = Array.from({ length: list?.count ?? 0 }, (_, index) => list?.message(index).byteLength ?? 0).reduce((sum, bytes) => sum + bytes, 0);
  return hashesOf(held.bytes).reduce((sum, hash, index) => sum + (here.has(hash) ? 0 : pieces?.message(index).byteLength ?? 0), listBytes);
}

function hashesOf(bytes: Uint8Array): string[] {
  const written = chunkListOf(bytes);
  const list = written === null ? null : new ChunkList(written.bytes, bytes.byteLength);
  return Array.from({ length: list?.count ?? 0 }, (_, index) => list?.hash(index) ?? '');
}
