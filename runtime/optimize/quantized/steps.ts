import type { Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { fromNumbers, toNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { fusedUnary } from '../../ops/convolution.js';
import { operatorOf, recordOf } from '../../ops/registry.js';
import { pair } from '../../ops/views.js';
import { coreCompareKind } from '../../ops/whole.js';
import type { Rewriter } from '../rewriter.js';

/** A function of one float that takes one value below `lower`, one from there to below `upper`, and one from `upper` on. */
interface StepFunction {
  /** The value it is a function of. */
  readonly source: string;
  readonly lower: number;
  readonly upper: number;
  /** When the thresholds are equal nothing takes the second. */
  readonly values: readonly [number, number, number];
}

/** Activations of -1, 0 and 1, times a factor. */
export interface TernaryActivations {
  readonly source: string;
  /** Below it: -1. From `upper` on: 1. */
  readonly lower: number;
  readonly upper: number;
  readonly factor: number;
}

/** The least float32 above `x`. */
export function nextUp(x: number): number {
  if (x === 0) return 2 ** -149;
  const floats = Float32Array.of(x);
  const bits = new Int32Array(floats.buffer);
  bits[0] = (bits[0] ?? 0) + (x > 0 ? 1 : -1);
  return floats[0] ?? x;
}

/** The one number that a constant holds, all of whose elements are equal. */
function uniform(value: TensorValue | undefined): number | undefined {
  const numbers = value === undefined ? [] : toNumbers(value);
  const [first] = numbers;
  return first !== undefined && numbers.every((number) => number === first) ? first : undefined;
}

/** `x < bound` or `x <= bound` and their mirror images, as 0 and 1. */
function comparisonStep(editor: Rewriter, node: Node): StepFunction | undefined {
  const { a, b } = pair(node);
  const [left, right] = [uniform(editor.constant(a)), uniform(editor.constant(b))];
  const kind = coreCompareKind(node);
  const bound = left ?? right;
  if (kind === 'equal' || bound === undefined || (left !== undefined && right !== undefined) || editor.type(a).dtype !== 'float32') return undefined;
  // Where x is on the left the step is at the bound itself for `<`; where it is on the right, for `<=`.
  const [source, values, exact] = left === undefined ? [a, [1, 1, 0] as const, kind === 'less'] : [b, [0, 0, 1] as const, kind === 'less_or_equal'];
  const threshold = exact ? bound : nextUp(bound);
  return { source, lower: threshold, upper: threshold, values };
}

/** Longest chain of operators that is followed. */
const maximumChain = 8;

/** An elementwise operator over a step, its other operands uniform constants: the same step with other values. */
function mappedStep(editor: Rewriter, node: Node, depth: number): StepFunction | undefined {
  const variables = node.inputs.flatMap((input, i) => (input !== '' && editor.constant(input) === undefined ? [i] : []));
  const [variable] = variables;
  if (variable === undefined || variables.length > 1 || recordOf(node)?.elementwise === undefined) return undefined;
  const step = stepOf(editor, operand(node, variable), depth + 1);
  if (step === undefined) return undefined;
  const operands = node.inputs.map((input, i): TensorValue | undefined => {
    if (i === variable) return fromNumbers(editor.type(input).dtype, [3], step.values);
    const constant = editor.constant(input);
    const number = uniform(constant);
    return constant === undefined || number === undefined ? undefined : fromNumbers(constant.dtype, [1], [number]);
  });
  if (operands.some((operand, i) => operand === undefined && node.inputs[i] !== '')) return undefined;
  const { dtype } = editor.type(outputOf(node));
  const [result] = operatorOf(node).evaluate({ node, opset: editor.opset, inputs: operands, outputs: [{ dtype, shape: [3] }] });
  const [below = 0, between = 0, above = 0] = result === undefined ? [] : toNumbers(result);
  return { ...step, values: [below, between, above] };
}

function stepOf(editor: Rewriter, value: string, depth = 0): StepFunction | undefined {
  const node = editor.producer(value);
  if (node === undefined || depth > maximumChain) return undefined;
  if (node.op === 'Compare') return comparisonStep(editor, node);
  const mapped = mappedStep(editor, node, depth);
  if (mapped !== undefined || node.op !== 'Unary' || fusedUnary(node).kind !== 'sign') return mapped;
  return { source: operand(node, 0), lower: 0, upper: nextUp(0), values: [-1, 0, 1] };
}

/** Where codes that never fall reach a level: below everything, at a threshold, or nowhere. */
function reached({ lower, upper }: StepFunction, codes: readonly number[], level: number): number {
  const at = codes.findIndex((code) => code >= level);
  return [-Infinity, lower, upper][at] ?? Infinity;
}

/**
 * Sign or threshold activations: a chain of elementwise operators from a float value that gives only -s, 0 and s. `Sign(x)`, `Where(x >= t, 1, -1)`,
 * `Sign(Sign(x) + 0.1)`, `2 * Cast(x > 0) - 1` and the like. (NaN counts as below every threshold: program.h.)
 */
export function ternaryActivations(editor: Rewriter, value: string): TernaryActivations | undefined {
  const step = stepOf(editor, value);
  if (step === undefined) return undefined;
  const binary = step.lower === step.upper;
  const values = binary ? [step.values[0], step.values[2], step.values[2]] : [...step.values];
  const size = Math.max(...values.map(Math.abs));
  const factor = (values[0] ?? 0) <= (values[2] ?? 0) ? size : -size;
  const codes = values.map((v) => v / factor);
  const ternary = size > 0 && codes.every((code, i) => [-1, 0, 1].includes(code) && code >= (codes[i - 1] ?? -1));
  if (!ternary || codes[0] === codes[2]) return undefined;
  return { source: step.source, lower: reached(step, codes, 0), upper: reached(step, codes, 1), factor };
}
