import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { openSource } from '../../runtime/media/source.js';
import type { EngineName } from '../../runtime/session-types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { buildPipelinePackage } from '../package/build.js';
import { compressStages } from '../package/compress.js';
import type { StageModels } from '../package/describe.js';
import { hashFolder, hashModules, sha256, writeCached } from './files.js';
import { demoGates } from './gates.js';
import { faceModels } from './pins.js';

/** The demonstration's package, and what compression made of its models. */
const summarySchema = z.object({
  name: z.string(),
  version: z.string(),
  sha256: z.string(),
  package_bytes: z.number(),
  /** Of the three models, as fetched and as packaged. */
  float_bytes: z.number(),
  int8_bytes: z.number(),
  /** Mean cosine between int8 and float32 outputs, by stage. */
  output_cosine: z.record(z.string(), z.number()),
});
export type DemoPackageSummary = z.infer<typeof summarySchema>;
export interface DemoPackage {
  path: string;
  summary: DemoPackageSummary;
  /** It was there already. */
  cached: boolean;
}

export interface DemoPackageOptions {
  /** Where derived files are kept. */
  folder: string;
  /** Paths of the float models by name. */
  modelPaths: Readonly<Record<string, string>>;
  /** Folder of pictures that the quantizer observes. */
  calibration: string;
  engine: EngineName;
}

/**
 * Detector and embedder in int8, packed with the landmark model in float32 (it is small, and alignment rests on it). Kept
 * under a hash of everything that it is made of: models, pictures, gates, and the code that quantizes and packs.
 * @throws DeployError E_ASSET, E_USAGE, RuntimeError E_QUANTIZE, E_MODEL_*
 */
export async function demoPackage(options: DemoPackageOptions): Promise<DemoPackage> {
  const stem = join(options.folder, `faces-${(await recipe(options)).slice(0, 16)}`);
  const [path, note] = [`${stem}.sterna`, `${stem}.json`];
  const known = await readSummary(path, note);
  if (known !== null) return { path, summary: known, cached: true };
  const models = await readModels(options.modelPaths);
  const { engine } = options;
  const pictures = () => openSource(options.calibration);
  const compressed = await compressStages(kind, models, pictures(), { quantize: { engine }, record: { engine } });
  const written = await buildPipelinePackage(kind, compressed.models, {
    name: 'faces',
    version: '1.0.0',
    embeddingSpaceId: `fr-feature-${sha256(models.embedder).slice(0, 16)}`,
    calibration: compressed.calibration,
    goldenPictures: pictures(),
    overrides: { settings: demoGates },
    engine: { engine },
  });
  const summary: DemoPackageSummary = {
    name: written.manifest.name,
    version: written.manifest.version,
    sha256: written.sha256,
    package_bytes: written.bytes.byteLength,
    float_bytes: totalBytes(models),
    int8_bytes: totalBytes(compressed.models),
    output_cosine: Object.fromEntries(compressed.calibration.flatMap(({ stage, output_cosine }) => (output_cosine === undefined ? [] : [[stage, output_cosine]]))),
  };
  await writeCached(path, written.bytes);
  await writeCached(note, `${JSON.stringify(summary, null, 2)}\n`);
  return { path, summary, cached: false };
}

async function readModels(paths: Readonly<Record<string, string>>): Promise<{ detector: Uint8Array; landmarks: Uint8Array; embedder: Uint8Array }> {
  const read = (name: string): Promise<Uint8Array> => readFile(paths[name] ?? name);
  return { detector: await read('fr_detect.onnx'), landmarks: await read('fr_landmark.onnx'), embedder: await read('fr_feature.onnx') };
}

function totalBytes(models: StageModels): number {
  return Object.values(models).reduce((sum, model) => sum + model.byteLength, 0);
}

async function readSummary(path: string, note: string): Promise<DemoPackageSummary | null> {
  try {
    const summary = summarySchema.parse(JSON.parse(await readFile(note, 'utf8')));
    return sha256(await readFile(path)) === summary.sha256 ? summary : null;
  } catch {
    return null; // not there, or not complete: it is made again
  }
}

const kind = 'face-recognition';

/** Hash of what the package is made of. */
async function recipe({ calibration, engine }: DemoPackageOptions): Promise<string> {
  const code = await hashModules(import.meta.url, ['../package', '../../runtime/quantize', '../../runtime/kinds', '../../runtime/stages', '../../runtime/package']);
  return sha256([runtimeVersion, engine, faceModels.integrity, JSON.stringify(demoGates), await hashFolder(calibration, /\.(jpg|png)$/), code].join('\n'));
}
