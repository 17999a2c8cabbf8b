import { RuntimeError } from '../errors.js';
import type { PixelContract } from '../stages/contract.js';
import type { ModelInfo } from './kind.js';

/** Channel order and normalization of a model, one value for all channels; sizes and the tensor's name are read from the model. */
export interface PixelDefaults {
  channels: PixelContract['channels'];
  mean: number;
  std: number;
}

/**
 * The pixel contract of a model with one picture as its input.
 * @throws RuntimeError E_MODEL_SHAPE when it has another input
 */
export function pixelContractOf({ inputs }: ModelInfo, what: string, { channels, mean, std }: PixelDefaults): PixelContract {
  const count = channels === 'grey' ? 1 : 3;
  const [input, ...others] = inputs;
  const [batch, second = 0, third = 0, fourth = 0] = input?.dims ?? [];
  const planar = second === count;
  if (input === undefined || others.length > 0 || input.dims.length !== 4 || batch !== 1 || (!planar && fourth !== count)) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected one input [1, ${count}, H, W] or [1, H, W, ${count}] for the ${what} but received `
      + inputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', '));
  }
  const values = (value: number): number[] => new Array<number>(count).fill(value);
  return {
    type: 'pixels', tensor: input.name, channels, mean: values(mean), std: values(std),
    width: planar ? fourth : third, height: planar ? third : second,
  };
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
