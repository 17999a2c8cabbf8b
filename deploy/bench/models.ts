import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { messageOf, SternaError } from '../../runtime/errors.js';
import { graphToOnnx } from '../../runtime/graph/export.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxModel } from '../../runtime/onnx/types.js';
import { simplifyOnnx } from '../../runtime/optimize/optimize.js';
import { foldWeightDequantize } from '../../runtime/optimize/passes/fold-weight-dequantize.js';
import { modelInputs } from '../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../runtime/quantize/quantize.js';
import { runtimeVersion } from '../../runtime/version.js';
import { readSamples } from '../compress/samples.js';
import { fixOpenSizes } from '../compress/shapes.js';
import { fixValues } from '../compress/values.js';
import { hashModules, sha256, writeCached } from '../demo/files.js';
import { DeployError } from '../errors.js';
import { knownInputs } from './known-inputs.js';
import { generatedNets } from './nets.js';
import type { LowBitFormat, ModelFormat } from './report.js';

/** Something that was to be measured and could not be. */
export interface BenchFailure {
  /** `int8`, `native:avx2 int8 2 threads`, ... */
  what: string;
  code: string;
  message: string;
}

/** A model as files that every engine opens. */
export interface BenchModel {
  name: string;
  source: 'file' | 'generated';
  /** Path by format. A file that is quantized already has no float32 form. */
  formats: Partial<Record<ModelFormat, string>>;
  failures: BenchFailure[];
}

export interface ModelOptions {
  /** Folder of ONNX files; undefined: none. */
  folder: string | undefined;
  generated: boolean;
  /** Formats of fewer bits to derive beside int8. */
  lowBits: readonly LowBitFormat[];
  /** Where derived models are kept. */
  cache: string;
  /** Only models whose name contains it. */
  filter: string;
}

/** A failure of ours as the report states it; anything else is a defect and goes on. */
export function asFailure(what: string, error: unknown): BenchFailure {
  if (!(error instanceof SternaError)) throw error;
  return { what, code: error.code, message: error.message };
}

/** What is there to measure, by name; nothing is read or derived yet. @throws DeployError E_FILE: the folder cannot be read */
export async function listModels({ folder, generated, filter }: ModelOptions): Promise<Pick<BenchModel, 'name' | 'source'>[]> {
  const files = folder === undefined ? [] : await onnxFiles(folder);
  return [
    ...files.map((name) => ({ name, source: 'file' as const })),
    ...(generated ? Object.keys(generatedNets) : []).map((name) => ({ name, source: 'generated' as const })),
  ].filter(({ name }) => name.includes(filter));
}

async function onnxFiles(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => extname(name) === '.onnx').map((name) => name.slice(0, -'.onnx'.length)).sort();
  } catch (cause) {
    throw new DeployError('E_FILE', `Expected a folder of ONNX models but ${folder} cannot be read: ${messageOf(cause)}`, { cause, details: { path: folder } });
  }
}

/**
 * Reads or makes a model's files: as float32, and quantized by ourselves unless it is quantized already. A batch that the file leaves open is 1; a model
 * that leaves another size open is a failure, for any size that we chose would be one that nobody runs.
 */
export async function prepareModel({ name, source }: Pick<BenchModel, 'name' | 'source'>, options: ModelOptions): Promise<BenchModel> {
  const model: BenchModel = { name, source, formats: {}, failures: [] };
  try {
    const original = source === 'generated' ? undefined : join(options.folder ?? '', `${name}.onnx`);
    const read = original === undefined ? generate(name) : await readFile(original);
    const { sizes, values } = knownInputs(name);
    const { model: sized } = await fixOpenSizes(fixValues(read, values), sizes);
    const bytes = Object.keys(values).length === 0 ? sized : withoutBranches(sized);
    const unchanged = original !== undefined && bytes === read;
    const parsed = parseModel(bytes);
    const has = (op: string): boolean => parsed.graph.nodes.some((node) => node.op === op);
    if (has('QuantizeLinear')) return { ...model, formats: { int8: unchanged ? original : await keep(options.cache, name, bytes) } };
    const float = has('DequantizeLinear') ? expandWeights(parsed) : bytes;
    model.formats.float32 = unchanged && float === bytes ? original : await keep(options.cache, name, float);
    for (const format of ['int8', ...options.lowBits] as const) await addQuantized(model, options.cache, float, format);
  } catch (error) {
    model.failures.push(asFailure('float32', error));
  }
  return model;
}

async function addQuantized(model: BenchModel, cache: string, float: Uint8Array, format: 'int8' | LowBitFormat): Promise<void> {
  try {
    model.formats[format] = await quantized(cache, model.name, float, format);
  } catch (error) {
    model.failures.push(asFailure(format, error));
  }
}

function generate(name: string): Uint8Array {
  const make = Object.hasOwn(generatedNets, name) ? generatedNets[name] : undefined;
  if (make === undefined) throw new DeployError('E_FILE', `No generated net is named ${name}`);
  return make();
}

/**
 * A model whose weights alone are 8-bit, with these as floats: what its authors meant by float32. onnxruntime would else convert the
 * weights in every run, and we would win by what nobody does who cares for speed.
 */
function expandWeights(model: OnnxModel): Uint8Array {
  return serializeModel(graphToOnnx(inferShapes(foldWeightDequantize(inferShapes(graphFromOnnx(model))))));
}

/** The nodes that are run, where inputs have values that decide branches: onnxruntime 1.30 fails to inline some of them itself. */
const withoutBranches = (model: Uint8Array): Uint8Array => serializeModel(graphToOnnx(inferShapes(simplifyOnnx(graphFromOnnx(parseModel(model))))));

/** A derived model, in the cache under its own hash. */
async function keep(cache: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(cache, `${name}-${sha256(bytes).slice(0, 16)}.onnx`);
  await writeCached(path, bytes);
  return path;
}

/** Times do not depend on what the ranges are, so noise calibrates well enough; nor on what fewer bits lose, so all layers take them. */
const calibration = 'random:4';
const anyDrop = 2;

/** A quantized form, in the cache under a hash of everything that it is made of: the float model and the code that quantizes. */
async function quantized(cache: string, name: string, float: Uint8Array, format: 'int8' | LowBitFormat): Promise<string> {
  const code = await hashModules(import.meta.url, ['../../runtime/quantize']);
  const recipe = sha256([runtimeVersion, calibration, code, sha256(float)].join('\n'));
  const path = join(cache, `${name}-${format}-${recipe.slice(0, 16)}.onnx`);
  if (!(await exists(path))) {
    const { model } = await quantizeModel(float, readSamples(calibration, modelInputs(float), Infinity), { format, method: 'minmax', maxDrop: anyDrop, measuredSamples: 1 });
    await writeCached(path, model);
  }
  return path;
}

const exists = (path: string): Promise<boolean> => readFile(path).then(() => true, () => false);
