import { RuntimeError } from '../errors.js';
import type { PixelContract } from '../stages/contract.js';
import type { ModelInfo } from './kind.js';

/** Channel order and normalization of a model, one value for all channels or one for each; sizes and the tensor's name are read from the model. */
export interface PixelDefaults {
  channels: PixelContract['channels'];
  mean: number | readonly number[];
  std: number | readonly number[];
}

/**
 * Size of the picture that a model takes, and where its channels are.
 * @throws RuntimeError E_MODEL_SHAPE when it has another input than one picture of so many channels
 */
export function pictureSize({ inputs }: ModelInfo, count: 1 | 3, what: string): { width: number; height: number; tensor: string } {
  const [input, ...others] = inputs;
  const [batch, second = 0, third = 0, fourth = 0] = input?.dims ?? [];
  const planar = second === count;
  if (input === undefined || others.length > 0 || input.dims.length !== 4 || batch !== 1 || (!planar && fourth !== count)) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected one input [1, ${count}, H, W] or [1, H, W, ${count}] for the ${what} but received `
      + inputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', '));
  }
  return { width: planar ? fourth : third, height: planar ? third : second, tensor: input.name };
}

/**
 * The pixel contract of a model with one picture as its input.
 * @throws RuntimeError E_MODEL_SHAPE when it has another input
 */
export function pixelContractOf(model: ModelInfo, what: string, { channels, mean, std }: PixelDefaults): PixelContract {
  const count = channels === 'grey' ? 1 : 3;
  const values = (value: number | readonly number[]): number[] => (typeof value === 'number' ? new Array<number>(count).fill(value) : [...value]);
  const { tensor, width, height } = pictureSize(model, count, what);
  return { type: 'pixels', tensor, channels, mean: values(mean), std: values(std), width, height };
}

/** Length of a model's only output [1, N] (or [1, N, 1, 1]). @throws RuntimeError E_MODEL_SHAPE when it has others, or another type or shape */
export function onlyVector(model: ModelInfo, what: string): number {
  const length = vectorLength(model);
  if (length !== undefined) return length;
  throw new RuntimeError('E_MODEL_SHAPE', `Expected one float32 output [1, N] for the ${what} but received ${model.outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', ')}`);
}

/** Length of a model's only output when it is a vector; else undefined. */
export function vectorLength({ outputs: [output, ...others] }: ModelInfo): number | undefined {
  const size = output?.dims.reduce((product, dim) => product * dim, 1) ?? 0;
  return output !== undefined && others.length === 0 && output.type === 'float32' && size > 0 && output.dims.includes(size) ? size : undefined;
}

/** What makes probabilities of a model's only output: a graph that ends in a softmax gives them, and a second softmax would make them all alike. */
export function activationOf({ outputs: [output], ends }: ModelInfo): 'none' | 'softmax' {
  const last = ends?.[output?.name ?? ''] ?? [];
  return last.some((op) => op === 'Softmax' || op === 'Sigmoid') ? 'none' : 'softmax';
}

/** Where the model of a stage lies in a package. */
export const modelPath = (stage: string): string => `models/${stage}.onnx`;

/** A stage of a description: every output of the model is declared. */
export function describeStage(stage: string, model: ModelInfo, what: string, defaults: PixelDefaults): object {
  return { model: modelPath(stage), input: pixelContractOf(model, what, defaults), outputs: model.outputs.map((output) => output.name) };
}

/** The model of a stage. @throws RuntimeError E_INPUT when it was not given */
export function modelOf(models: Readonly<Record<string, ModelInfo>>, stage: string): ModelInfo {
  const model = models[stage];
  if (model === undefined) throw new RuntimeError('E_INPUT', `Expected a model for the stage ${stage} but received ${Object.keys(models).join(', ') || 'none'}`);
  return model;
}
