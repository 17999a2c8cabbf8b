import { readFile } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { z } from 'zod';
import { openPackage } from '../../runtime/package/package.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import type { EngineName } from '../../runtime/session-types.js';
import { DeployError } from '../errors.js';
import { buildPipelinePackage } from '../package/build.js';
import { modelKinds, recognizeModel } from './recognize.js';
import type { ModelOptions } from './recognize.js';

/** A pipeline that is not packed yet: model files beside a JSON file, to try them out. */
const pipelineFile = z.object({
  kind: z.string().default('face-recognition'),
  /** Model file of each stage. */
  models: z.record(z.string(), z.string()),
  embedding_space_id: z.string().min(1).optional(),
  /** As the manifest's `pipeline`; replaces defaults field by field. */
  pipeline: z.record(z.string(), z.unknown()).optional(),
});

/**
 * Opens a model as the pipeline that it is recognized as.
 * @param onAssumption told what was assumed, a sentence each
 * @throws DeployError E_FILE, E_USAGE, RuntimeError E_MODEL_*
 */
export async function openModel(path: string, options: ModelOptions, onAssumption: (text: string) => void, engine?: EngineName): Promise<ModelPackage> {
  const model = await read(path);
  const { kind, description, assumptions } = await recognizeModel(model, options, engine);
  assumptions.forEach(onAssumption);
  const { bytes } = await buildPipelinePackage(kind, { [modelKinds[kind]]: model }, {
    name: 'unpacked', version: '0.0.0', overrides: description, hints: { decoder: options.decoder }, ...(engine === undefined ? {} : { engine: { engine } }),
  });
  return openPackage(bytes);
}

/**
 * Opens a `.sterna` package, or a `.json` file that names the models of a pipeline (paths relative to it).
 * @throws RuntimeError E_PACKAGE, DeployError E_FILE, E_USAGE
 */
export async function openPipelineOrPackage(path: string, engine?: EngineName): Promise<ModelPackage> {
  if (extname(path).toLowerCase() !== '.json') return openPackage(path);
  const { kind, models: files, embedding_space_id, pipeline } = parse(path, await read(path));
  const models: Record<string, Uint8Array> = {};
  for (const [stage, file] of Object.entries(files)) models[stage] = await read(resolve(dirname(path), file));
  const { bytes } = await buildPipelinePackage(kind, models, {
    name: 'unpacked', version: '0.0.0', overrides: pipeline,
    ...(engine === undefined ? {} : { engine: { engine } }),
    ...(embedding_space_id === undefined ? {} : { embeddingSpaceId: embedding_space_id }),
  });
  return openPackage(bytes);
}

function parse(path: string, bytes: Buffer): z.output<typeof pipelineFile> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new DeployError('E_USAGE', `${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const result = pipelineFile.safeParse(json);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw new DeployError('E_USAGE', `${path} is not a pipeline: ${issues.join('; ')}`);
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new DeployError('E_FILE', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause, details: { path } });
  }
}
