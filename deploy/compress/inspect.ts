import { describeCpu, loadProgram } from '../../kernels/index.js';
import { compile } from '../../runtime/lower/compile.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import type { ModelPackage } from '../../runtime/package/index.js';
import type { TensorInfo } from '../../runtime/tensor.js';

export interface LayerInspection {
  name: string;
  op: string;
  /** What the layer computes in; `none` moves data. */
  format: 'int8' | 'float32' | 'none';
  /** The kernel that this CPU will run. */
  kernel: string;
  input_shape: readonly number[];
  output_shape: readonly number[];
  macs: number;
  /** Elements of its constants. */
  parameters: number;
}

export interface ModelInspection {
  bytes: number;
  opset: number;
  producer: string;
  inputs: TensorInfo[];
  outputs: TensorInfo[];
  macs: number;
  parameters: number;
  /** Memory for activations, and for weights as the kernels want them. */
  arena_bytes: number;
  packed_bytes: number;
  isa: string;
  layers: LayerInspection[];
}

const info = ({ name, type, dims }: TensorInfo): TensorInfo => ({ name, type, dims });

/**
 * What a model consists of and how this machine will run it: it is compiled and loaded, not run.
 * @throws RuntimeError E_MODEL_*, KernelError
 */
export async function inspectModel(bytes: Uint8Array): Promise<ModelInspection> {
  const model = parseModel(bytes);
  const cpu = describeCpu();
  const program = compile(bytes, { activation: cpu.activation });
  const native = loadProgram(program.bytes);
  try {
    const layers = program.opNames.map(({ name, op, format, inputShape, outputShape, macs, parameters }, index): LayerInspection => {
      return { name, op, format, kernel: native.kernels[index] ?? '', input_shape: inputShape, output_shape: outputShape, macs, parameters };
    });
    const total = (key: 'macs' | 'parameters'): number => layers.reduce((sum, layer) => sum + layer[key], 0);
    return {
      bytes: bytes.length,
      opset: model.opsets.get('') ?? 0,
      producer: [model.producerName, model.producerVersion].filter((part) => part !== '').join(' '),
      inputs: program.inputs.map(info),
      outputs: program.outputs.map(info),
      macs: total('macs'),
      parameters: total('parameters'),
      arena_bytes: native.arenaBytes,
      packed_bytes: native.packedBytes,
      isa: native.isa,
      layers,
    };
  } finally {
    await native.close();
  }
}

export interface PackageInspection {
  name: string;
  version: string;
  release_counter: number;
  minimum_runtime: string;
  sha256: string;
  /** By path in the package. */
  models: Record<string, ModelInspection>;
}

/** A package and each of its models. @throws as inspectModel */
export async function inspectPackage(opened: ModelPackage): Promise<PackageInspection> {
  const { name, version, release_counter, minimum_runtime, files } = opened.manifest;
  const models: Record<string, ModelInspection> = {};
  for (const { path } of files) if (path.endsWith('.onnx')) models[path] = await inspectModel(opened.file(path));
  return { name, version, release_counter, minimum_runtime, sha256: opened.sha256, models };
}
