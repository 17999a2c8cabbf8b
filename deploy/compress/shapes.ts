import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { RuntimeError } from '../../runtime/errors.js';
import { bindSymbols, givenDims, showDims, type ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxDimension, OnnxValueInfo } from '../../runtime/onnx/types.js';
import { readInputFile } from '../cli/files.js';
import { parseNpy } from './npy.js';

/** Shapes of all inputs of a model, and a sentence for each input whose shape the file leaves open. */
export interface ChosenShapes {
  shapes: Record<string, readonly number[]>;
  notes: string[];
}

/** The size that examples show for a dimension that nobody gave. */
const exampleSize = 320;

/** Shape of the first array of a calibration source, when it has arrays. */
async function shapeOfData(source: string | undefined): Promise<readonly number[] | undefined> {
  if (source === undefined || source.startsWith('random:')) return undefined;
  const folder = await stat(source).then((found) => found.isDirectory(), () => undefined);
  if (folder === undefined) return undefined;
  const first = folder ? (await readdir(source)).filter((name) => extname(name) === '.npy').sort().map((name) => join(source, name))[0] : source;
  return first === undefined || extname(first) !== '.npy' ? undefined : parseNpy(await readInputFile(first), first).dims;
}

/** The array's shape when it fits the input; an array may lack the leading batch of one. */
function fitting({ dims = [] }: OnnxValueInfo, data: readonly number[] | undefined): readonly number[] | undefined {
  if (data === undefined) return undefined;
  return [data, [1, ...data]].find((shape) => shape.length === dims.length && dims.every((dim, axis) => typeof dim !== 'number' || dim === shape[axis]));
}

function refuseOpen(input: OnnxValueInfo, known: readonly (number | undefined)[]): RuntimeError {
  const { name, dims = [] } = input;
  const example = known.map((size, axis) => size ?? (axis === 0 ? 1 : exampleSize)).join('x');
  const named = [...new Set(dims.filter((dim, axis) => typeof dim === 'string' && axis > 0 && known[axis] === undefined))];
  const bySymbol = named.length === 0 ? '' : `, or ${named.map((symbol) => `--symbol ${symbol}=${exampleSize}`).join(' ')}`;
  return new RuntimeError('E_OPTION', `The model leaves dimensions of input '${name}' ${showDims(dims)} open; set them, for example with --shape ${name}=${example}${bySymbol}`, { details: { input: name, dims: dims.map((dim) => dim ?? null), example: `--shape ${name}=${example}` } });
}

/**
 * Sizes for the dimensions that a model leaves open: those of the options, then those of the calibration data's arrays. The first dimension, a batch
 * by convention, is 1 when nobody says otherwise. Nothing else is guessed.
 * @param data the calibration source of the command, if it has one
 * @throws RuntimeError E_OPTION with an example for this model; E_MODEL_*
 */
export async function chooseShapes(model: Uint8Array, sizes: ChosenSizes, data?: string): Promise<ChosenShapes> {
  const { graph } = parseModel(model);
  const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  const symbols = new Set(inputs.flatMap(({ dims = [] }) => dims.filter((dim) => typeof dim === 'string')));
  const unknown = Object.keys(sizes.symbols ?? {}).find((symbol) => !symbols.has(symbol));
  if (unknown !== undefined) {
    throw new RuntimeError('E_OPTION', `The model has no open dimension '${unknown}'; ${symbols.size === 0 ? 'none of its dimensions is open and has a name' : `it has ${[...symbols].join(', ')}`}`, { details: { symbol: unknown } });
  }
  const bound = bindSymbols(inputs, sizes);
  const found = inputs.length === 1 ? await shapeOfData(data) : undefined;
  const chosen: ChosenShapes = { shapes: {}, notes: [] };
  for (const input of inputs) {
    const { name, dims } = input;
    if (dims === undefined) continue;
    const known = givenDims(input, sizes, bound);
    const measured = known.includes(undefined) ? fitting(input, found) : undefined;
    const shape = known.map((size, axis) => size ?? measured?.[axis] ?? (axis === 0 ? 1 : undefined));
    const sized = shape.filter((size) => size !== undefined);
    if (sized.length < shape.length) throw refuseOpen(input, shape);
    chosen.shapes[name] = sized;
    const why = measured !== undefined ? ', the shape of the calibration data' : known[0] === undefined ? ', with a batch of 1' : '';
    if (dims.some((dim) => typeof dim !== 'number')) chosen.notes.push(`input '${name}' ${showDims(dims)} is taken as ${sized.join('x')}${why}`);
  }
  return chosen;
}

/**
 * A model whose inputs have the chosen sizes for good, so that whatever reads it later sees the same. The bytes stay as they are when nothing is open.
 * @throws RuntimeError E_OPTION with an example for this model; E_MODEL_*
 */
export async function fixOpenSizes(bytes: Uint8Array, sizes: ChosenSizes): Promise<{ model: Uint8Array; notes: string[] }> {
  const { shapes, notes } = await chooseShapes(bytes, sizes);
  if (notes.length === 0) return { model: bytes, notes };
  const model = parseModel(bytes);
  const { inputs, outputs, valueInfo } = model.graph;
  const symbols = bindSymbols(inputs, { symbols: sizes.symbols ?? {}, shapes });
  const named = (dim: OnnxDimension): OnnxDimension => (typeof dim === 'string' && Object.hasOwn(symbols, dim) ? symbols[dim] : dim);
  const sized = (info: OnnxValueInfo): OnnxValueInfo => (info.dims === undefined ? info : { ...info, dims: shapes[info.name] ?? info.dims.map(named) });
  return { model: serializeModel({ ...model, graph: { ...model.graph, inputs: inputs.map(sized), outputs: outputs.map(sized), valueInfo: valueInfo.map(sized) } }), notes };
}
