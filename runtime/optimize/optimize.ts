import type { Graph } from '../graph/graph.js';
import { pause } from '../graph/pause.js';
import { inferShapes } from '../infer/infer.js';
import { canonicalize } from './passes/canonicalize.js';
import { decomposeBatchNorm } from './passes/decompose-batch-norm.js';
import { decomposeQuantization } from './passes/decompose-quantization.js';
import { foldAffine } from './passes/fold-affine.js';
import { foldConstants } from './passes/fold-constants.js';
import { foldQuantization } from './passes/fold-quantization.js';
import { foldWeightDequantize } from './passes/fold-weight-dequantize.js';
import { fuseActivations } from './passes/fuse-activations.js';
import { fuseBinary } from './passes/fuse-binary.js';
import { fuseQuantized } from './passes/fuse-quantized.js';
import { fuseSilu } from './passes/fuse-silu.js';
import { hoistFunctions } from './passes/hoist-functions.js';
import { hoistTransposes } from './passes/hoist-transposes.js';
import { joinConvolutions } from './passes/join-convolutions.js';
import { joinTables } from './passes/join-tables.js';
import { recognizeAttention, writeTransposed } from './passes/recognize-attention.js';
import { recognizeGelu } from './passes/recognize-gelu.js';
import { recognizeInt4Weights } from './passes/recognize-int4-weights.js';
import { recognizeNormalization } from './passes/recognize-normalization.js';
import { recognizeScaledProducts } from './passes/recognize-scaled-products.js';
import { recognizeTernary } from './passes/recognize-ternary.js';
import { removeDuplicates } from './passes/remove-duplicates.js';
import { removeIdentities } from './passes/remove-identities.js';
import { simplifyViews } from './passes/simplify-views.js';
import { sinkTransposes } from './passes/sink-transposes.js';
import { widenQuantizedTypes } from './passes/widen-quantized-types.js';

export type Pass = (graph: Graph) => Graph;

/** Applies passes in order. */
export const sequence = (graph: Graph, passes: readonly Pass[]): Graph => passes.reduce((g, pass) => {
  pause();
  return pass(g);
}, graph);

/** Rounds after which a pass that never settles would be a bug. */
const maximumRounds = 64;

/** Applies passes in order, again and again until none changes anything. */
export function untilStable(graph: Graph, passes: readonly Pass[]): Graph {
  let settled = 0; // passes in a row that left the graph as it is
  for (let i = 0; i < maximumRounds * passes.length && settled < passes.length; i++) {
    pause();
    const next = passes[i % passes.length]?.(graph) ?? graph;
    settled = next === graph ? settled + 1 : 0;
    graph = next;
  }
  return graph;
}

/** `simplifyOnnx` of a graph whose types are known. */
const simplifyInferred = (graph: Graph): Graph => untilStable(widenQuantizedTypes(graph), [foldConstants, removeIdentities, foldWeightDequantize, foldAffine]);

/**
 * Simplifications that keep a graph of ONNX operators: codes of 4 and 2 bits as bytes, constants and shape arithmetic folded, identities removed, weights
 * that only their size made 8-bit back to float, batch normalization and per-channel factors inside the convolutions. What the
 * quantizer starts from.
 */
export const simplifyOnnx = (graph: Graph): Graph => simplifyInferred(inferShapes(graph));

/** Channels-last core operators, with no transposes but those that the model's interface needs. */
export function toChannelsLast(graph: Graph): Graph {
  const core = sequence(graph, [decomposeBatchNorm, canonicalize, foldConstants, removeIdentities]);
  const sunk = untilStable(core, [sinkTransposes, foldConstants, removeIdentities, removeDuplicates]);
  return untilStable(sunk, [simplifyViews, removeIdentities]);
}

/**
 * The graph that is lowered: core operators, channels last, quantized where the model says how, activations and residual
 * additions fused. Its values are those of the model up to rounding.
 */
export function optimize(graph: Graph): Graph {
  const core = toChannelsLast(simplifyInferred(recognizeInt4Weights(inferShapes(graph))));
  const quantized = untilStable(sequence(core, [recognizeScaledProducts, fuseSilu, hoistFunctions, hoistTransposes, foldQuantization]), [removeIdentities, removeDuplicates]);
  const float = untilStable(quantized, [(g) => foldWeightDequantize(g, { all: true }), foldConstants, foldAffine, removeIdentities]);
  const rows = sequence(float, [recognizeGelu, recognizeNormalization, recognizeAttention, simplifyViews, removeIdentities, writeTransposed]);
  return sequence(rows, [recognizeTernary, joinTables, fuseQuantized, decomposeQuantization, fuseActivations, joinConvolutions, fuseBinary, simplifyViews, removeIdentities]);
}
