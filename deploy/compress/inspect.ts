import { RuntimeError } from '../../runtime/errors.js';
import { inspectModel, type InspectedLayer, type InspectOptions, type ModelInspection } from '../../runtime/inspect.js';
import type { ModelPackage } from '../../runtime/package/index.js';

/** A layer as `sterna inspect --json` prints it; field names carry units and are part of the interface. */
const layerJson = ({ name, op, format, weightBits, note, kernel, inputShape, outputShape, macs, parameters }: InspectedLayer) => ({
  name, op, format, weight_bits: weightBits, note, kernel, input_shape: inputShape, output_shape: outputShape, macs, parameters,
});

/** What a detector's run can compute in part, on this CPU; null for a model without exactly one picture as its input. */
export interface PartsReport {
  /** Share of the multiplications that a run can compute in part. */
  share: number;
  /** Layers that are computed in part, of all. */
  layers: number;
  of: number;
  /** Memory that keeps the feature maps from frame to frame. */
  kept_bytes: number;
}

const modelJson = (bytes: number, model: ModelInspection, parts: PartsReport | null) => ({
  bytes,
  opset: model.opset,
  producer: model.producer,
  inputs: model.inputs,
  outputs: model.outputs,
  operators: model.operators,
  macs: model.macs,
  parameters: model.parameters,
  arena_bytes: model.arenaBytes,
  packed_bytes: model.packedBytes,
  scratch_bytes: model.scratchBytes,
  program_bytes: model.programBytes,
  isa: model.isa,
  interpreted_nodes: model.interpretedNodes,
  /** Inputs for whose values the model is compiled again. */
  recompiled_for: model.recompiledFor,
  layers: model.layers.map(layerJson),
  /** Layers after which a run can stop, which is where a gate on the features may be; `share`: of the multiplications, up to there. */
  splits: model.splits,
  parts,
});

export type ModelReport = ReturnType<typeof modelJson>;

export interface PackageReport {
  name: string;
  version: string;
  release_counter: number;
  minimum_runtime: string;
  sha256: string;
  /** By path in the package. */
  models: Record<string, ModelReport>;
  /** Cheaper networks for some stages; empty: none. */
  variants: VariantReport[];
}

export interface VariantReport {
  name: string;
  /** Work of a frame, and objects that are no longer found, as shares, as they were measured when the package was made. */
  load: number;
  cost: number;
  /** Models by stage, with the size of their picture. */
  stages: Record<string, { model: string; size: string; macs: number }>;
  golden_vectors: number;
}

/**
 * What a model consists of and how this machine will run it.
 * @throws RuntimeError E_MODEL_*, KernelError
 */
export const reportModel = async (bytes: Uint8Array, options: InspectOptions = {}): Promise<ModelReport> =>
  modelJson(bytes.length, await inspectModel(bytes, options), await reportParts(bytes, options));

async function reportParts(bytes: Uint8Array, options: InspectOptions): Promise<PartsReport | null> {
  try {
    const { layers, macs, arenaBytes } = await inspectModel(bytes, { ...options, incremental: true });
    const inParts = layers.filter((layer) => layer.inParts === true);
    return { share: macs === 0 ? 0 : inParts.reduce((sum, layer) => sum + layer.macs, 0) / macs, layers: inParts.length, of: layers.length, kept_bytes: arenaBytes };
  } catch (error) {
    // No picture goes in, or the model is no single program.
    if (error instanceof RuntimeError && (error.code === 'E_OPTION' || error.code === 'E_MODEL_OP' || error.code === 'E_MODEL_SHAPE')) return null;
    throw error;
  }
}

/** A package and each of its models. @throws as `reportModel` */
export async function reportPackage(opened: ModelPackage): Promise<PackageReport> {
  const { name, version, release_counter, minimum_runtime, files } = opened.manifest;
  const models: Record<string, ModelReport> = {};
  for (const { path } of files) if (path.endsWith('.onnx')) models[path] = await reportModel(opened.file(path));
  const variants = (opened.manifest.variants ?? []).map((variant): VariantReport => ({
    name: variant.name, load: variant.load, cost: variant.cost, golden_vectors: variant.golden.length,
    stages: Object.fromEntries(Object.entries(variant.stages).map(([stage, { model, input }]) => [stage, { model, size: input.type === 'pixels' ? `${input.width}x${input.height}` : input.type, macs: models[model]?.macs ?? 0 }])),
  }));
  return { name, version, release_counter, minimum_runtime, sha256: opened.sha256, models, variants };
}
