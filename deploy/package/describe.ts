import { z } from 'zod';
import { kindOf } from '../../runtime/kinds/registry.js';
import type { DescribeHints, ModelInfo } from '../../runtime/kinds/kind.js';
import { RuntimeError } from '../../runtime/errors.js';
import { endsOf } from '../../runtime/onnx/heads.js';
import { bakeConstants } from '../../runtime/stages/bake-constants.js';
import { pipelineDescription, stageContract } from '../../runtime/stages/contract.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import { createSession } from '../../runtime/session.js';
import type { EngineName, SessionOptions } from '../../runtime/session-types.js';
import { DeployError } from '../errors.js';

const statedStage = stageContract.pick({ states: true, constants: true }).extend({ input: z.object({ tensor: z.string(), samples: z.number() }).optional().catch(undefined) });

/** The models of a pipeline as ONNX, by the names of its stages. */
export type StageModels = Readonly<Record<string, Uint8Array>>;

/**
 * Works out the description of a pipeline from its models: sizes and tensor names are read from them; normalization, crops
 * and thresholds are those that the kind knows of published models with such heads (runtime/README.md, "What the defaults assume").
 * `overrides`, a JSON object of the manifest's `pipeline` form, replaces any of it, field by field.
 * @throws DeployError E_USAGE when the result is not a valid pipeline, RuntimeError E_MODEL_*
 */
export async function describePipeline(kind: string, models: StageModels, overrides: unknown = {}, engine?: EngineName, hints?: DescribeHints): Promise<PipelineDescription> {
  const infos: Record<string, ModelInfo> = {};
  for (const [stage, model] of Object.entries(models)) infos[stage] = await describeStated(overrides, stage, model, engine);
  return descriptionOf(kind, infos, overrides, hints);
}

/** The same, of models that were looked at already. @throws DeployError E_USAGE */
export function descriptionOf(kind: string, infos: Readonly<Record<string, ModelInfo>>, overrides: unknown = {}, hints?: DescribeHints): PipelineDescription {
  return usage(() => {
    const stated = { kind, ...kindOf(kind).describe(infos, hints) };
    const result = pipelineDescription.safeParse(merge(stated, overrides));
    if (!result.success) {
      const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
      throw new DeployError('E_USAGE', `The pipeline is invalid: ${issues.slice(0, 5).join('; ')}`, { details: { issues } });
    }
    kindOf(kind).parse(result.data);
    return result.data;
  });
}

/** What the kind refuses is a wrong use of the command. */
function usage<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof RuntimeError) throw new DeployError('E_USAGE', cause.message, { cause, details: { ...cause.details } });
    throw cause;
  }
}

/** What a model takes and gives, and what computes its outputs. @throws RuntimeError E_MODEL_* */
export async function describeModel(model: Uint8Array, engine: EngineName | undefined, sizes: Pick<SessionOptions, 'shapes' | 'symbols'> = {}): Promise<ModelInfo> {
  const session = await createSession(model, { floats: 'float32', ...sizes, ...(engine === undefined ? {} : { engine }) });
  await session.close();
  return { inputs: session.inputs, outputs: session.outputs, ends: endsOf(model) };
}

/** A model with what a description states of its inputs, if it listens: then it may leave shapes open, and have inputs that are constants. */
function describeStated(overrides: unknown, stage: string, model: Uint8Array, engine: EngineName | undefined): Promise<ModelInfo> {
  const stated = statedStage.safeParse(isRecord(overrides) && isRecord(overrides['stages']) ? overrides['stages'][stage] : undefined);
  if (!stated.success) return describeModel(model, engine);
  const { input, states = [], constants = [] } = stated.data;
  const shapes = states.map(({ input: name, dims }): [string, readonly number[]] => [name, dims]).concat(input === undefined ? [] : [[input.tensor, [1, input.samples]]]);
  return describeModel(bakeConstants(model, constants), engine, { shapes: Object.fromEntries(shapes) });
}

/** Objects are merged field by field; everything else is replaced. */
export function merge(base: unknown, overrides: unknown): unknown {
  if (!isRecord(base) || !isRecord(overrides)) return overrides === undefined ? base : overrides;
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(overrides)) result[key] = merge(base[key], value);
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
