/** Checks the kernels on this CPU: which instruction sets run, and whether each of them computes what the reference kernels compute. */
import { describeCpu, type Isa } from '../../kernels/binding/index.js';
import { messageOf } from '../../runtime/errors.js';
import { createSession } from '../../runtime/index.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { Attribute, OnnxNode } from '../../runtime/onnx/types.js';
import { checksOf, type Check } from './check.js';

const CHANNELS = 24;
const SIDE = 9;

const node = (op: string, inputs: string[], output: string, attributes: [string, Attribute][] = []): OnnxNode =>
  ({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(attributes) });
/** Numbers whose pattern repeats late, so that a kernel which mixes up lanes gives another result. */
const pattern = (count: number, range: number): number[] => Array.from({ length: count }, (_, i) => ((i * 7919 + 17) % 251) % range);
const scalar = (dtype: 'float32' | 'uint8' | 'int8', value: number): TensorValue =>
  ({ dtype, dims: [], data: dtype === 'float32' ? Float32Array.of(value) : dtype === 'uint8' ? Uint8Array.of(value) : Int8Array.of(value) });

/** A 3x3 convolution in 8 bits, and one of the same shape in single precision. Both have more channels than a vector has lanes. */
export function selfCheckModel(): Uint8Array {
  const dims = [CHANNELS, CHANNELS, 3, 3];
  const weights = pattern(CHANNELS * CHANNELS * 9, 251).map((value) => value - 125);
  const shape = [1, CHANNELS, SIDE, SIDE];
  const pads: [string, Attribute][] = [['pads', { type: 'ints', value: [1, 1, 1, 1] }]];
  return serializeModel({
    irVersion: 8, producerName: 'sterna-doctor', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(),
    graph: {
      name: 'self-check', valueInfo: [],
      nodes: [
        node('QLinearConv', ['bytes', 'x_scale', 'x_zero', 'w_bytes', 'w_scale', 'w_zero', 'y_scale', 'y_zero'], 'bytes_out', pads),
        node('Conv', ['floats', 'w_floats'], 'floats_out', pads),
      ],
      initializers: new Map<string, TensorValue>([
        ['x_scale', scalar('float32', 0.02)], ['x_zero', scalar('uint8', 128)], ['w_scale', scalar('float32', 0.01)], ['w_zero', scalar('int8', 0)],
        ['y_scale', scalar('float32', 0.5)], ['y_zero', scalar('uint8', 120)],
        ['w_bytes', { dtype: 'int8', dims, data: Int8Array.from(weights) }], ['w_floats', { dtype: 'float32', dims, data: Float32Array.from(weights, (w) => w / 128) }],
      ]),
      inputs: [{ name: 'bytes', dtype: 'uint8', dims: shape }, { name: 'floats', dtype: 'float32', dims: shape }],
      outputs: [{ name: 'bytes_out', dtype: 'uint8', dims: shape }, { name: 'floats_out', dtype: 'float32', dims: shape }],
    },
  });
}

interface Outputs { bytes: readonly number[]; floats: readonly number[] }
/** Runs the model of the self-check with one instruction set. Tests give a runner of their own. */
export type Runner = (isa: Isa) => Promise<Outputs>;

export async function runSelfCheck(isa: Isa): Promise<Outputs> {
  const session = await createSession(selfCheckModel(), { isa });
  try {
    const dims = [1, CHANNELS, SIDE, SIDE];
    const count = CHANNELS * SIDE * SIDE;
    const { bytes_out: bytes, floats_out: floats } = await session.run({
      bytes: { type: 'uint8', dims, data: Uint8Array.from(pattern(count, 251)) },
      floats: { type: 'float32', dims, data: Float32Array.from(pattern(count, 251), (value) => value / 64 - 2) },
    });
    return { bytes: Array.from((bytes?.data ?? []) as Uint8Array), floats: Array.from((floats?.data ?? []) as Float32Array) };
  } finally {
    await session.close();
  }
}

/**
 * Why results differ from those of the reference; null when they agree. Integers must be equal to the bit; single precision may differ by the
 * rounding of a sum of 216 products.
 */
function difference(found: Outputs, wanted: Outputs): string | null {
  const at = found.bytes.findIndex((value, i) => value !== wanted.bytes[i]);
  if (found.bytes.length !== wanted.bytes.length || at >= 0) return `8-bit result ${at} is ${found.bytes[at]} instead of ${wanted.bytes[at]}`;
  const off = found.floats.findIndex((value, i) => !(Math.abs(value - (wanted.floats[i] ?? NaN)) <= 1e-3));
  return found.floats.length !== wanted.floats.length || off >= 0 ? `float32 result ${off} is ${found.floats[off]} instead of ${wanted.floats[off]}` : null;
}

export async function checkKernels(run: Runner = runSelfCheck): Promise<Check[]> {
  const report = checksOf('kernels');
  let cpu: ReturnType<typeof describeCpu>;
  try {
    cpu = describeCpu();
  } catch (error) {
    return [report.failed(messageOf(error), { remedy: 'install the package for this architecture again' })];
  }
  const isas = cpu.isas.filter(({ runnable, built }) => runnable && built).map(({ isa }) => isa);
  const details = { selected: cpu.selected, runnable: isas, features: cpu.features };
  const wrong: string[] = [];
  try {
    const wanted = await run('ref');
    for (const isa of isas.filter((name) => name !== 'ref')) {
      const found = difference(await run(isa), wanted);
      if (found !== null) wrong.push(`${isa}: ${found}`);
    }
  } catch (error) {
    return [report.failed(`the self-check did not run: ${messageOf(error)}`, { details })];
  }
  if (wrong.length > 0) {
    return [report.failed(`wrong results: ${wrong.join('; ')}`, { details, remedy: 'the processor or its memory is defective, or the emulator is: run the check again, and replace the device if it fails again' })];
  }
  if (cpu.selected === 'ref') return [report.warning('only the reference kernels run here, which are slow', { details, remedy: 'check STERNA_ISA, and whether the virtual machine hides instructions of the processor' })];
  return [report.ok(`${cpu.selected}; ${isas.length} instruction sets give the results of the reference`, { details })];
}
