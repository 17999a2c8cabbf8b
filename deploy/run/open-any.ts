import { pipelineDescription } from '../../runtime/stages/contract.js';
import { parsePipeline } from '../../runtime/kinds/registry.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import type { EngineName } from '../../runtime/session-types.js';
import { modelOptions, statedOptions, type ModelArguments } from '../cli/model-options.js';
import { DeployError } from '../errors.js';
import { merge } from '../package/describe.js';
import { openModel, openPipelineOrPackage } from './open.js';

/**
 * Opens a package, an ONNX model or a JSON pipeline, by the name of the file.
 * @throws DeployError E_USAGE for options of a model with something else
 */
export async function openAny(path: string, options: ModelArguments & { engine?: EngineName }, onNote: (text: string) => void): Promise<ModelPackage> {
  const { engine, kind } = options;
  if (path.toLowerCase().endsWith('.onnx')) return openModel(path, await modelOptions(options), onNote, engine);
  const [first] = [...(kind === undefined ? [] : ['kind']), ...statedOptions(options)];
  if (first === undefined) return openPipelineOrPackage(path, engine);
  throw new DeployError('E_USAGE', `Expected --${first} with an .onnx model but ${path} has settings of its own`);
}

/** The package with other settings, field by field, as the manifest's `pipeline`. @throws DeployError E_USAGE, RuntimeError E_PACKAGE that names the field */
export function withSettings(modelPackage: ModelPackage, overrides: unknown): ModelPackage {
  const result = pipelineDescription.safeParse(merge(modelPackage.manifest.pipeline, overrides));
  if (!result.success) throw new DeployError('E_USAGE', `The settings are invalid: ${result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).slice(0, 5).join('; ')}`);
  parsePipeline(result.data, modelPackage.manifest.variants);
  const { manifest, sha256, bytes } = modelPackage;
  return { manifest: { ...manifest, pipeline: result.data }, sha256, bytes, file: (path) => modelPackage.file(path) };
}
