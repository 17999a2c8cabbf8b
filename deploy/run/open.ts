import { dirname, extname, resolve } from 'node:path';
import { z } from 'zod';
import { openPackage } from '../../runtime/package/package.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import type { EngineName } from '../../runtime/session-types.js';
import { DeployError } from '../errors.js';
import type { ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import type { DescribeHints } from '../../runtime/kinds/kind.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import { readChosenModel, readModelInput, readJson } from '../cli/files.js';
import { fixOpenSizes } from '../compress/shapes.js';
import type { InputOptions } from '../cli/options.js';
import { unpackedPipeline } from '../package/build.js';
import { describePipeline } from '../package/describe.js';
import type { StageModels } from '../package/describe.js';
import { hintsOf, modelKinds, recognizeModel } from './recognize.js';
import type { ModelKind, ModelOptions } from './recognize.js';

/** A pipeline that is not packed yet: model files beside a JSON file, to try them out. */
const pipelineFile = z.object({
  kind: z.string().default('face-recognition'),
  /** Model file of each stage. */
  models: z.record(z.string(), z.string()),
  embedding_space_id: z.string().min(1).optional(),
  /** As the manifest's `pipeline`; replaces defaults field by field. */
  pipeline: z.record(z.string(), z.unknown()).optional(),
});

export interface SizedModelOptions extends ModelOptions {
  /** For dimensions that the file leaves open. */
  sizes: ChosenSizes;
  /** Of inputs that are not fed. */
  values?: InputOptions;
}

/** A model as the pipeline that it is recognized as. */
export interface PreparedModel {
  kind: ModelKind;
  models: StageModels;
  description: PipelineDescription;
  hints: DescribeHints;
  /** Sentences for people: sizes that were chosen, and what was assumed. */
  notes: string[];
}

/**
 * Reads a model, gives it its sizes, and recognizes what it is.
 * @throws DeployError E_FILE, E_USAGE, RuntimeError E_OPTION, E_MODEL_*
 */
export async function prepareModel(path: string, { sizes, values, ...options }: SizedModelOptions, engine?: EngineName): Promise<PreparedModel> {
  const { model, notes } = await fixOpenSizes(await (values === undefined ? readModelInput(path) : readChosenModel(path, values)), sizes);
  const { kind, description, assumptions } = await recognizeModel(model, options, engine);
  return { kind, description, models: { [modelKinds[kind]]: model }, hints: hintsOf(options), notes: [...notes, ...assumptions] };
}

/**
 * Opens a model as the pipeline that it is recognized as.
 * @param onNote told the notes of `prepareModel`
 * @throws DeployError E_FILE, E_USAGE, RuntimeError E_OPTION, E_MODEL_*
 */
export async function openModel(path: string, options: SizedModelOptions, onNote: (text: string) => void, engine?: EngineName): Promise<ModelPackage> {
  const { kind, models, description, notes } = await prepareModel(path, options, engine);
  notes.forEach(onNote);
  return unpackedPipeline(kind, models, description);
}

/**
 * Opens a `.sterna` package, or a `.json` file that names the models of a pipeline (paths relative to it).
 * @throws RuntimeError E_PACKAGE, DeployError E_FILE, E_USAGE
 */
export async function openPipelineOrPackage(path: string, engine?: EngineName): Promise<ModelPackage> {
  if (extname(path).toLowerCase() !== '.json') return openPackage(path);
  const { kind, models: files, embedding_space_id, pipeline } = parse(path, await readJson(path));
  const models: Record<string, Uint8Array> = {};
  for (const [stage, file] of Object.entries(files)) models[stage] = await readModelInput(resolve(dirname(path), file));
  return unpackedPipeline(kind, models, await describePipeline(kind, models, pipeline, engine), embedding_space_id);
}

function parse(path: string, json: unknown): z.output<typeof pipelineFile> {
  const result = pipelineFile.safeParse(json);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw new DeployError('E_USAGE', `${path} is not a pipeline: ${issues.join('; ')}`);
}
