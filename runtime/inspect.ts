import { loadProgram, type Isa } from '../kernels/index.js';
import { activationFor } from './engines/native.js';
import { graphFromOnnx } from './graph/import.js';
import type { Shape } from './graph/tensor-value.js';
import { compile } from './lower/compile.js';
import { nameOp } from './lower/name-op.js';
import { parseModel } from './onnx/parse.js';
import type { SessionOptions } from './session-types.js';
import type { TensorInfo } from './tensor.js';

export type InspectOptions = Pick<SessionOptions, 'isa' | 'threads' | 'pixels' | 'symbols' | 'memoryLimitBytes'>;

/** One op of the program, in the order of execution. */
export interface InspectedLayer {
  /** Name of the ONNX node; of the last one where several were fused. */
  readonly name: string;
  readonly op: string;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly macs: number;
  readonly parameters: number;
  readonly format: 'int8' | 'float32' | 'none';
  /** The kernel that this CPU runs it with, e.g. `gemm_q8/avx512vnni`. */
  readonly kernel: string;
}

export interface ModelInspection {
  readonly opset: number;
  readonly producer: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** How often the file uses each ONNX operator. */
  readonly operators: Readonly<Record<string, number>>;
  /** Ops of the compiled program. */
  readonly ops: number;
  readonly layers: readonly InspectedLayer[];
  readonly macs: number;
  readonly parameters: number;
  readonly isa: Isa;
  /** Type of 8-bit activations in the program. */
  readonly activation: 'uint8' | 'int8';
  /** Activations of one inference, bytes. */
  readonly arenaBytes: number;
  /** Weights as the kernels want them, bytes. */
  readonly packedBytes: number;
  /** Working memory of the kernels, bytes. */
  readonly scratchBytes: number;
  readonly programBytes: number;
}

function countOperators(nodes: readonly { op: string }[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { op } of nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const sum = <T>(list: readonly T[], of: (item: T) => number): number => list.reduce((total, item) => total + of(item), 0);

/**
 * What a model becomes on this CPU: layers after fusion, their cost, format and kernel, and the memory it takes. Loads the
 * program and frees it again; runs nothing.
 * @throws RuntimeError E_MODEL_*, E_INPUT; KernelError E_NATIVE_MISSING, E_ISA, E_OUT_OF_MEMORY
 */
export async function inspectModel(bytes: Uint8Array, options: InspectOptions = {}): Promise<ModelInspection> {
  const { isa, threads, memoryLimitBytes, pixels, symbols } = options;
  const model = parseModel(bytes);
  const program = compile(graphFromOnnx(model, symbols === undefined ? {} : { symbols }), {
    activation: activationFor(isa),
    ...(pixels === undefined ? {} : { pixels }),
  });
  const native = nameOp(program, () =>
    loadProgram(program.bytes, {
      ...(isa === undefined ? {} : { isa }),
      ...(threads === undefined ? {} : { threads }),
      ...(memoryLimitBytes === undefined ? {} : { memoryLimitBytes }),
    }),
  );
  const layers = program.opNames.map((op, i): InspectedLayer => ({ ...op, kernel: native.kernels[i] ?? '' }));
  const inspection: ModelInspection = {
    opset: model.opsets.get('') ?? 0,
    producer: `${model.producerName} ${model.producerVersion}`.trim(),
    inputs: program.inputs.map(({ name, type, dims }) => ({ name, type, dims })),
    outputs: program.outputs.map(({ name, type, dims }) => ({ name, type, dims })),
    operators: countOperators(model.graph.nodes),
    ops: layers.length,
    layers,
    macs: sum(layers, ({ macs }) => macs),
    parameters: sum(layers, ({ parameters }) => parameters),
    isa: native.isa,
    activation: program.activation,
    arenaBytes: native.arenaBytes,
    packedBytes: native.packedBytes,
    scratchBytes: native.scratchBytes,
    programBytes: program.bytes.length,
  };
  await native.close();
  return inspection;
}
