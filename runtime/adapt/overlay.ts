/**
 * An overlay: the thresholds that a device adapted, in a small file beside the package. It is bound to the hashes of the package and of its models, moves
 * every threshold within stated bounds at most, and is named by the hash of its own content.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { RuntimeError } from '../errors.js';
import type { ModelPackage } from '../package/package.js';
import { packagePath } from '../stages/contract.js';
import { runtimeVersion } from '../version.js';
import { applyThresholds, bounds, type Threshold } from './apply.js';

/** The only version of the file. */
const version = 1;
/** An overlay is far smaller: a line of some 80 bytes for each of a few hundred thresholds. */
export const maxOverlayBytes = 1 << 20;

const hash = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hexadecimal digits');

const threshold = z.strictObject({
  value: z.string().max(1024),
  factor: z.number().min(bounds.factor[0]).max(bounds.factor[1]),
  shift: z.number().int().min(-bounds.codes).max(bounds.codes),
});

const overlaySchema = z.strictObject({
  overlay: z.literal(version),
  /** SHA-256 of the package. */
  package: hash,
  /** For people. */
  made_by: z.string().max(64),
  /** Models whose thresholds move: path in the package and SHA-256. */
  models: z.array(z.strictObject({ path: packagePath, sha256: hash, thresholds: z.array(threshold).min(1).max(10_000) })).min(1).max(16),
});

export type Overlay = z.output<typeof overlaySchema>;

/** What a file of an overlay holds; equal thresholds give equal bytes. */
export function writeOverlay(modelPackage: Pick<ModelPackage, 'sha256' | 'manifest'>, models: ReadonlyMap<string, readonly Threshold[]>): Uint8Array {
  const hashes = new Map(modelPackage.manifest.files.map(({ path, sha256 }) => [path, sha256]));
  const listed = [...models].map(([path, thresholds]) => ({
    path, sha256: hashes.get(path) ?? '', thresholds: thresholds.map(({ value, factor, shift }) => ({ value, factor, shift })),
  }));
  const overlay: Overlay = overlaySchema.parse({ overlay: version, package: modelPackage.sha256, made_by: `sterna ${runtimeVersion}`, models: listed });
  return Buffer.from(`${JSON.stringify(overlay)}\n`);
}

/** SHA-256 of an overlay's bytes, lower-case hexadecimal. */
export const overlayHash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const refused = (message: string): RuntimeError => new RuntimeError('E_ADAPT', message);

/** @throws RuntimeError E_ADAPT: too large, not JSON, or not an overlay */
export function parseOverlay(bytes: Uint8Array): Overlay {
  if (bytes.length > maxOverlayBytes) throw refused(`Expected an overlay of at most ${maxOverlayBytes} bytes but it has ${bytes.length}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new RuntimeError('E_ADAPT', `The overlay is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const result = overlaySchema.safeParse(json);
  if (result.success) return result.data;
  throw refused(`The overlay is invalid: ${result.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`).join('; ')}`);
}

/** The package with other bytes for some of its models: what it is opened and tested with. */
export function withModels(modelPackage: ModelPackage, models: ReadonlyMap<string, Uint8Array>): ModelPackage {
  const { manifest } = modelPackage;
  const files = manifest.files.map((line) => {
    const bytes = models.get(line.path);
    return bytes === undefined ? line : { path: line.path, bytes: bytes.length, sha256: overlayHash(bytes) };
  });
  return { ...modelPackage, manifest: { ...manifest, files }, file: (path) => models.get(path) ?? modelPackage.file(path) };
}

/** The package with moved thresholds, by path of the model. @throws RuntimeError E_ADAPT: thresholds that a model does not have or that leave their bounds */
export const withThresholds = (modelPackage: ModelPackage, models: ReadonlyMap<string, readonly Threshold[]>): ModelPackage =>
  withModels(modelPackage, new Map([...models].map(([path, thresholds]) => [path, applyThresholds(modelPackage.file(path), thresholds)])));

/**
 * The package with the thresholds of an overlay. Everything else is the package's: weights, golden vectors, settings, budget.
 * @param bytes of the overlay's file
 * @throws RuntimeError E_ADAPT: the overlay is damaged, of another package or another model, or moves a threshold that must stay or leaves its bounds
 */
export function withOverlay(modelPackage: ModelPackage, bytes: Uint8Array): ModelPackage {
  const overlay = parseOverlay(bytes);
  if (overlay.package !== modelPackage.sha256) throw refused(`The overlay belongs to the package ${overlay.package}, not to ${modelPackage.sha256}`);
  const models = new Map<string, readonly Threshold[]>();
  for (const { path, sha256, thresholds } of overlay.models) {
    const line = modelPackage.manifest.files.find((file) => file.path === path);
    if (line?.sha256 !== sha256) throw refused(`The overlay moves thresholds of the model ${path} with SHA-256 ${sha256}, which the package does not have`);
    if (models.has(path)) throw refused(`The overlay has the model ${path} twice`);
    models.set(path, thresholds);
  }
  return withThresholds(modelPackage, models);
}
