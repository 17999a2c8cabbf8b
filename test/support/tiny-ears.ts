import { int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { noise } from '../../runtime/noise.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../runtime/onnx/types.js';

/** Samples that the generated models take: 0.2 s at 16 kHz. */
export const earSamples = 3200;

/**
 * A model of samples [1, 3200] with two classes: how much power the samples have, and how much their differences have. A low tone at half of full scale is
 * the first class, a high one also the second.
 */
export function tinyEars(): Uint8Array {
  const nodes: OnnxNode[] = [];
  const node = (op: string, inputs: string[], output: string, attributes: Readonly<Record<string, Attribute>> = {}): string => {
    nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  };
  const floats = (dims: number[], data: number[]): TensorValue => ({ dtype: 'float32', dims, data: Float32Array.from(data) });
  const signal = node('Reshape', ['samples', 'shape'], 'signal');
  const difference = node('Conv', [signal, 'difference'], 'steps', { kernel_shape: ints([2]), pads: ints([0, 1]) });
  const both = node('Concat', [signal, difference], 'both', { axis: int(1) });
  const power = node('GlobalAveragePool', [node('Mul', [both, both], 'squares')], 'power');
  const logits = node('Conv', [power, 'weights', 'bias'], 'logits', { kernel_shape: ints([1]) });
  node('Sigmoid', [node('Reshape', [logits, 'classes'], 'flat')], 'scores');
  return serializeModel({
    irVersion: 8, producerName: 'sterna-test', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(),
    graph: {
      name: 'ears', nodes, valueInfo: [],
      initializers: new Map<string, TensorValue>([
        ['shape', { dtype: 'int64', dims: [3], data: BigInt64Array.of(1n, 1n, BigInt(earSamples)) }],
        ['classes', { dtype: 'int64', dims: [2], data: BigInt64Array.of(1n, 2n) }],
        ['difference', floats([1, 1, 2], [-1, 1])],
        // Each is 0.5 at a power of 0.02, and nearly 1 from 0.05 on.
        ['weights', floats([2, 2, 1], [200, 0, 0, 200])],
        ['bias', floats([2], [-4, -4])],
      ]),
      inputs: [{ name: 'samples', dtype: 'float32', dims: [1, earSamples] }],
      outputs: [{ name: 'scores', dtype: 'float32', dims: [1, 2] }],
    },
  });
}

/** What a package of `tinyEars` says. On a busy machine nothing is late. */
export const tinyEarsSettings = {
  settings: { activation: 'none', labels: ['sound', 'whistle'], smoothing_windows: 1, release_ms: 200, deadline_ms: 60_000, gate: { audit_share: 0 } },
} as const;

export { waveOf as waveFile } from '../../deploy/lab/wave.js';

/** Pieces of tones, one after another; 0 Hz is silence with a trace of noise, as a microphone has it. */
export function tones(pieces: readonly (readonly [hertz: number, seconds: number])[], rate = 16_000): Float32Array {
  const grain = noise();
  const trace = (): number => 2e-4 * (grain() / 2 ** 32 - 0.5);
  return Float32Array.from(pieces.flatMap(([hertz, seconds]) => Array.from({ length: Math.round(seconds * rate) }, (_, i) => (hertz === 0 ? 0 : 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate)) + trace())));
}
