import { RuntimeError } from '../../errors.js';
import { ints } from '../../graph/attributes.js';
import { typeOf, type Graph, type Node } from '../../graph/graph.js';
import { nhwcToNchw } from '../../graph/permutation.js';
import { float32s, type Shape, type TensorValue, type ValueType } from '../../graph/tensor-value.js';
import type { PixelInput } from '../../session-types.js';

/** [1, H, W, C] of the pixels for a model's input, and whether the model wants its channels first. */
function pixelShape(name: string, shape: Shape, channels: number): { dims: Shape; channelsFirst: boolean } {
  const [n = 1, a = 1, b = 1, c = 1] = shape;
  if (shape.length === 4 && a === channels) return { dims: [n, b, c, a], channelsFirst: true };
  if (shape.length === 4 && c === channels) return { dims: shape, channelsFirst: false };
  throw new RuntimeError('E_INPUT', `Input '${name}': expected an image of ${channels} channels but the model takes [${shape.join(', ')}]`, { details: { input: name } });
}

function checkPixels(name: string, { mean, std }: PixelInput): void {
  const usable = mean.length > 0 && mean.length === std.length && mean.every(Number.isFinite) && std.every((s) => Number.isFinite(s) && s !== 0);
  if (!usable) {
    throw new RuntimeError('E_INPUT', `Input '${name}': expected a finite mean and a std other than 0 for each channel but received mean [${mean.join(', ')}], std [${std.join(', ')}]`, { details: { input: name } });
  }
}

/**
 * Makes inputs take raw pixels, uint8 [1, H, W, C]: value = (pixel - mean) / std, then the order of axes that the model
 * wants. Later passes fold the normalization into quantization where there is one.
 * @throws RuntimeError E_INPUT: no such input, or one that is no image of so many channels
 */
export function insertPixelInputs(graph: Graph, pixels: Readonly<Record<string, PixelInput>>): Graph {
  if (Object.keys(pixels).length === 0) return graph;
  const renamed = new Map<string, string>();
  const nodes: Node[] = [];
  const constants = new Map<string, TensorValue>(graph.constants);
  const types = new Map<string, ValueType>(graph.types);
  for (const [name, pixel] of Object.entries(pixels)) {
    if (!graph.inputs.includes(name)) {
      throw new RuntimeError('E_INPUT', `Pixels are declared for '${name}', but the inputs are ${graph.inputs.join(', ')}`, { details: { input: name } });
    }
    checkPixels(name, pixel);
    const type = typeOf(graph, name);
    const { dims, channelsFirst } = pixelShape(name, type.shape, pixel.mean.length);
    const [mul, add, normal, image] = ['mul', 'add', 'normal', 'image'].map((part) => `${name}.pixels.${part}`);
    if (mul === undefined || add === undefined || normal === undefined || image === undefined) continue;
    constants.set(mul, float32s(pixel.std.map((s) => 1 / s)));
    constants.set(add, float32s(pixel.mean.map((m, c) => -m / (pixel.std[c] ?? 1))));
    nodes.push({ name: normal, op: 'NormalizeU8', inputs: [name, mul, add], outputs: [normal], attributes: new Map() });
    types.set(name, { dtype: 'uint8', shape: dims });
    types.set(normal, { dtype: 'float32', shape: dims });
    if (channelsFirst) {
      nodes.push({ name: image, op: 'Transpose', inputs: [normal], outputs: [image], attributes: new Map([['perm', ints(nhwcToNchw)]]) });
      types.set(image, type);
    }
    renamed.set(name, channelsFirst ? image : normal);
  }
  const readers = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((input) => renamed.get(input) ?? input) }));
  return { ...graph, nodes: [...nodes, ...readers], constants, types };
}
