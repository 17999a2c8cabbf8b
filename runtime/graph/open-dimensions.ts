import { RuntimeError } from '../errors.js';
import type { OnnxDimension, OnnxValueInfo } from '../onnx/types.js';

/** Sizes for what a model's file leaves open. */
export interface ChosenSizes {
  /** Whole shapes by input; what the file fixes must be as in the file. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Values of symbolic dimensions, by name. */
  symbols?: Readonly<Record<string, number>>;
}

type OpenInput = Pick<OnnxValueInfo, 'name' | 'dims' | 'container'>;

/** `float[N, 3, ?, ?]` without the type: `[N, 3, ?, ?]`. */
export const showDims = (dims: readonly OnnxDimension[]): string => `[${dims.map((dim) => dim ?? '?').join(', ')}]`;

const refuse = (message: string, details: Record<string, unknown>): RuntimeError => new RuntimeError('E_OPTION', message, { details });

function checkShape({ name, dims = [] }: OpenInput, shape: readonly number[]): void {
  const sized = shape.every((size) => Number.isInteger(size) && size >= 0);
  const fits = shape.length === dims.length && dims.every((dim, axis) => typeof dim !== 'number' || dim === shape[axis]);
  if (!sized || !fits) throw refuse(`Expected a shape that fits ${showDims(dims)} for input '${name}' but received [${shape.join(', ')}]`, { input: name, shape });
}

/**
 * The symbols and those that follow from whole shapes.
 * @throws RuntimeError E_OPTION: no such input, a shape that does not fit it, one symbol with two values
 */
export function bindSymbols(inputs: readonly OpenInput[], { shapes = {}, symbols = {} }: ChosenSizes): Record<string, number> {
  const bound: Record<string, number> = { ...symbols };
  for (const [name, shape] of Object.entries(shapes)) {
    const input = inputs.find((candidate) => candidate.name === name);
    if (input === undefined) throw refuse(`Expected the name of an input for the shape but received '${name}'; the model has ${inputs.map((candidate) => candidate.name).join(', ')}`, { input: name });
    checkShape(input, shape);
    for (const [axis, dim] of (input.dims ?? []).entries()) {
      const size = shape[axis] ?? 1;
      if (typeof dim !== 'string') continue;
      if (Object.hasOwn(bound, dim) && bound[dim] !== size) throw refuse(`Dimension '${dim}' is ${bound[dim]} by one option and ${size} by the shape of '${name}'`, { symbol: dim });
      bound[dim] = size;
    }
  }
  return bound;
}

/** Size of each dimension of an input that the file or the options give; undefined where neither does. */
export function givenDims({ name, dims = [] }: OpenInput, { shapes = {} }: ChosenSizes, bound: Readonly<Record<string, number>>): (number | undefined)[] {
  return dims.map((dim, axis) => shapes[name]?.[axis] ?? (typeof dim === 'string' ? (Object.hasOwn(bound, dim) ? bound[dim] : undefined) : dim));
}

/** Axes by input whose sizes neither the file nor the options state: they are taken as 1. Tensors in a sequence may have any. */
export function openAxes(inputs: readonly OpenInput[], sizes: ChosenSizes): Record<string, number[]> {
  const bound = bindSymbols(inputs, sizes);
  return Object.fromEntries(inputs.flatMap((input) => {
    if (input.container !== undefined) return [];
    const axes = givenDims(input, sizes, bound).flatMap((size, axis) => (size === undefined ? [axis] : []));
    return axes.length === 0 ? [] : [[input.name, axes] as const];
  }));
}
