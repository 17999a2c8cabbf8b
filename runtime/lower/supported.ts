import { expansions } from '../expand/expansions.js';
import { canonicalOperators } from '../optimize/passes/canonicalize.js';
import { binaryKinds, coreOps } from '../ops/core.js';
import { quantizedOps } from '../ops/quantized.js';
import { operatorNames } from '../ops/registry.js';
import { loweredOperators } from './compile.js';

export interface SupportedOperators {
  /** ONNX operators that the engine computes while a model runs. */
  readonly run: readonly string[];
  /** ONNX operators that must be known when the model is compiled: shape arithmetic, masks, ranges. */
  readonly folded: readonly string[];
  /** ONNX operators that the reference implementations compute between the programs of a model. */
  readonly interpreted: readonly string[];
}

/** What is a constant by the time that a program is written. */
const shapeArithmetic = new Set(['Constant', 'Range', 'Shape', 'Size']);

/** Operators of ours, which ONNX has no name for. */
const isOurs = (op: string): boolean => op.startsWith('Nhwc') || op === 'Silu' || Object.hasOwn(coreOps, op) || Object.hasOwn(quantizedOps, op);

/** What ONNX models may consist of. README.md lists it, and a test keeps the list equal to this. */
export function supportedOperators(): SupportedOperators {
  const arithmetic = operatorNames.filter((op) => binaryKinds.some((kind) => kind === op.toLowerCase()));
  const runs = new Set([...canonicalOperators, ...loweredOperators, ...arithmetic, 'BatchNormalization']);
  for (const op of Object.keys(expansions)) runs.add(op);
  const onnx = [...new Set([...operatorNames.filter((op) => !isOurs(op)), ...Object.keys(expansions)])].sort();
  const others = onnx.filter((op) => !runs.has(op));
  return { run: onnx.filter((op) => runs.has(op)), folded: others.filter((op) => shapeArithmetic.has(op)), interpreted: others.filter((op) => !shapeArithmetic.has(op)) };
}
