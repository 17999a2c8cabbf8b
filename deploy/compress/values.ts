import { RuntimeError } from '../../runtime/errors.js';
import { bindSymbols, givenDims, showDims, type ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import { numberToBfloat16, numberToFloat16 } from '../../runtime/onnx/float16.js';
import { decodeModel, parseModel } from '../../runtime/onnx/parse.js';
import { ModelProto, type WireTensor } from '../../runtime/onnx/schema.js';
import { nameOfWireType } from '../../runtime/onnx/tensor-data.js';
import { defaultLimits, type OnnxValueInfo } from '../../runtime/onnx/types.js';

/** Numbers by input: one for all of its elements, or one for each. */
export type ChosenValues = Readonly<Record<string, readonly number[]>>;

type Numbers = Float32Array | Float64Array | Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | BigUint64Array | BigInt64Array;

/** How the types of TensorProto.DataType hold numbers. */
const makers: Readonly<Record<number, (values: readonly number[]) => Numbers>> = {
  1: (values) => Float32Array.from(values), 10: (values) => Uint16Array.from(values, numberToFloat16), 11: (values) => Float64Array.from(values), 16: (values) => Uint16Array.from(values, numberToBfloat16),
  2: (values) => Uint8Array.from(values), 4: (values) => Uint16Array.from(values), 12: (values) => Uint32Array.from(values), 13: (values) => BigUint64Array.from(values, BigInt),
  3: (values) => Int8Array.from(values), 5: (values) => Int16Array.from(values), 6: (values) => Int32Array.from(values), 7: (values) => BigInt64Array.from(values, BigInt),
  9: (values) => Uint8Array.from(values, Number),
};
const floats: ReadonlySet<number> = new Set([1, 10, 11, 16]);
const boolean = 9;

const refusal = (name: string, message: string): RuntimeError => new RuntimeError('E_OPTION', message, { details: { input: name } });

/** The bytes of the numbers; floats may be rounded, whole numbers must stay what they are. */
function bytesOf(name: string, type: number, values: readonly number[]): Uint8Array {
  const make = Object.hasOwn(makers, type) ? makers[type] : undefined;
  if (make === undefined) throw refusal(name, `Expected an input of numbers for a value but '${name}' has the element type ${nameOfWireType(type)}`);
  const exact = !floats.has(type);
  const broken = exact ? values.find((value) => !Number.isSafeInteger(value)) : undefined;
  if (broken !== undefined) throw refusal(name, `Expected whole numbers for input '${name}' but received ${broken}`);
  const data = make(values);
  const lost = exact ? values.find((value, i) => Number(data[i]) !== value || (type === boolean && value !== 0 && value !== 1)) : undefined;
  if (lost !== undefined) throw refusal(name, `Expected numbers that input '${name}' can hold but received ${lost}`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function constantOf(input: OnnxValueInfo, type: number, values: readonly number[], sizes: { given: ChosenSizes; bound: Readonly<Record<string, number>> }): WireTensor {
  const { name } = input;
  const known = givenDims(input, sizes.given, sizes.bound);
  // An open vector is as long as the numbers that are given for it; any other open size is 1, as a batch.
  const dims = known.map((size) => size ?? (known.length === 1 ? values.length : 1));
  const count = elementCount(dims);
  if (values.length !== 1 && values.length !== count) throw refusal(name, `Expected ${count === 1 ? 'one number' : `one number, or ${count},`} for input '${name}' ${showDims(input.dims ?? [])} but received ${values.length}`);
  return { name, dataType: type, dims, rawData: bytesOf(name, type, Array.from({ length: count }, (_, i) => values[values.length === 1 ? 0 : i] ?? 0)) };
}

/**
 * A model in which the inputs that were given numbers are constants, so that whatever reads it later sees the same: a sampling rate, the size of a picture, a
 * threshold. Branches and sizes that they decide are known when it is compiled.
 * @param sizes of what the model leaves open
 * @throws RuntimeError E_OPTION for an input that is none, or that the numbers do not fit; E_MODEL_*
 */
export function fixValues(bytes: Uint8Array, values: ChosenValues, sizes: ChosenSizes = {}): Uint8Array {
  const names = Object.keys(values);
  if (names.length === 0) return bytes;
  const { inputs } = parseModel(bytes).graph;
  const model = decodeModel(bytes, defaultLimits);
  const typeOf = (name: string): number => model.graph?.input?.find((input) => input.name === name)?.type?.tensorType?.elemType ?? 0;
  const bound = bindSymbols(inputs, sizes);
  const constants = names.map((name) => {
    const input = inputs.find((candidate) => candidate.name === name);
    if (input === undefined) throw refusal(name, `Expected the name of an input for the value but received '${name}'; the model has ${inputs.map((candidate) => candidate.name).join(', ')}`);
    return constantOf(input, typeOf(name), values[name] ?? [], { given: sizes, bound });
  });
  const others = <T extends { name?: string }>(all: readonly T[] | undefined): T[] => (all ?? []).filter(({ name = '' }) => !Object.hasOwn(values, name));
  const graph = { ...model.graph, input: others(model.graph?.input), initializer: [...others(model.graph?.initializer), ...constants] };
  return ModelProto.encode({ ...model, graph }).finish();
}
