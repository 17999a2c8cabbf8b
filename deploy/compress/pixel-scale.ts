import { parseModel } from '../../runtime/onnx/parse.js';
import { weightOperands } from '../../runtime/quantize/prepare/plan.js';
import { prepareGraph } from '../../runtime/quantize/prepare/read-model.js';
import type { PictureOptions } from './picture-options.js';

/**
 * First layers whose weights of an output add up to more than this were trained on pixels of about one. Measured: 0.04 and 0.4 in two detectors that take
 * pixels from 0 to 255, 0.4 to 13 (median 3) in seven networks that take -1..1 or the like.
 */
const mostOfBytes = 1;
/** Pixels are fed unscaled when they are as large as this. */
const unscaled = 64;

/** Operators that move pixels without changing their values. */
const movers: ReadonlySet<string> = new Set(['Transpose', 'Slice', 'Concat', 'Reshape', 'Pad', 'Identity', 'SpaceToDepth']);

/** Median over the outputs of a model's first layer of the magnitudes of their weights, added up; undefined when something scales the pixels before. */
function firstWeights(model: Uint8Array, shapes: Readonly<Record<string, readonly number[]>>): number | undefined {
  const graph = prepareGraph(parseModel(model), { shapes });
  const reached = new Set(graph.inputs);
  for (const node of graph.nodes) {
    if (!reached.has(node.inputs[0] ?? '')) continue;
    const operands = weightOperands(graph, node);
    if (operands === undefined && !movers.has(node.op)) return undefined;
    if (operands === undefined) {
      for (const output of node.outputs) reached.add(output);
      continue;
    }
    const weights = graph.constants.get(operands.weights);
    const outputs = weights?.dims[operands.axis] ?? 1;
    const inner = (weights?.dims ?? []).slice(operands.axis + 1).reduce((product, dim) => product * dim, 1);
    const sums = new Float64Array(outputs);
    weights?.data.forEach((value, i) => (sums[Math.floor(i / inner) % outputs] = (sums[Math.floor(i / inner) % outputs] ?? 0) + Math.abs(Number(value))));
    return sums.sort()[outputs >> 1];
  }
  return undefined;
}

/** A warning if pixels from 0 to 255 are fed to a model that seems to expect smaller ones. */
export function unscaledPixels(model: Uint8Array, shapes: Readonly<Record<string, readonly number[]>>, { mean, std }: Pick<PictureOptions, 'mean' | 'std'>): string | undefined {
  const largest = Math.max(...mean.flatMap((m) => std.map((s) => Math.max(Math.abs(255 - m), Math.abs(m)) / Math.abs(s))));
  const sum = largest < unscaled ? undefined : firstWeights(model, shapes);
  if (sum === undefined || sum <= mostOfBytes) return undefined;
  return `--mean ${mean.join()} and --std ${std.join()} feed pixels as large as ${largest.toFixed(0)}, but the weights of the first layer (their magnitudes sum to ${sum.toFixed(1)} per output) suggest that the model expects pixels of about 1; --mean 0 --std 255 gives 0 to 1, and --mean 127.5 --std 127.5 gives -1 to 1`;
}
