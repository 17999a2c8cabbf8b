import type { Node } from '../../graph/graph.js';
import type { GradientEntry, GradientTable } from '../rule.js';
import { convolutionGradients } from './convolution.js';
import { elementwiseGradients } from './elementwise.js';
import { linearGradients } from './linear.js';
import { movementGradients, padGradient } from './movement.js';
import { batchNormGradient, normalizationGradients } from './normalization.js';
import { quantizationGradients } from './quantization.js';
import { recurrentGradients } from './recurrent.js';
import { reductionGradients } from './reduction.js';
import { unaryGradients } from './unary.js';

const table: GradientTable = {
  ...unaryGradients, ...elementwiseGradients, ...reductionGradients, ...linearGradients, ...convolutionGradients, ...normalizationGradients,
  ...movementGradients, ...quantizationGradients, ...recurrentGradients,
};

/** Operators whose forms have different gradients. */
const byForm: Readonly<Record<string, (node: Node) => GradientEntry>> = { BatchNormalization: batchNormGradient, Pad: padGradient };

/** Every operator that has a gradient, piecewise constant ones included. */
export const differentiableOperators: readonly string[] = [...Object.keys(table), ...Object.keys(byForm)].sort();

/** How the gradient of a node is found; undefined for an operator without one. */
export const gradientOf = (node: Node): GradientEntry | undefined => byForm[node.op]?.(node) ?? (Object.hasOwn(table, node.op) ? table[node.op] : undefined);
