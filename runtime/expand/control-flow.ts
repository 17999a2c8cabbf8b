import { RuntimeError } from '../errors.js';
import { intAttribute, intsAttribute, misshapen, notConstant, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { importNodes, operandsOf } from '../graph/import-nodes.js';
import { fromNumbers, sameShape } from '../graph/tensor-value.js';
import type { OnnxGraph, OnnxValueInfo } from '../onnx/types.js';
import { normalizeAxis } from '../ops/op.js';
import { Notation, type Builder, type Expansion } from './builder.js';
import { absent, operand, optionalOperand, optionalOutput } from '../graph/operands.js';

/** Runs of a loop's body, in one loop; each is written out, or computed, as nodes of its own. */
const maximumSteps = 65_536;

function graphOf(node: Node, name: string): OnnxGraph {
  const attribute = node.attributes.get(name);
  if (attribute?.type !== 'graph') throw unsupported(node, 'Expected a graph but received none', name);
  return attribute.value;
}

/**
 * Writes the nodes of a graph out, its inputs being `inputs`.
 * @returns the values of its outputs
 */
export function inline(b: Builder, node: Node, graph: OnnxGraph, inputs: readonly string[]): string[] {
  const { captures } = operandsOf(node);
  const names = new Map<string, string>([[absent, absent]]);
  graph.inputs.forEach(({ name }, i) => names.set(name, inputs[i] ?? absent));
  const { nodes, constants } = importNodes(graph);
  for (const [name, value] of constants) if (!names.has(name)) names.set(name, b.constant(value));
  const own = new Set(nodes.flatMap((each) => each.outputs));
  const at = (name: string): string => {
    const known = names.get(name);
    if (known !== undefined) return known;
    if (!own.has(name)) return captures.get(name) ?? name;
    const fresh = b.fresh(`${node.name}/${name}`);
    names.set(name, fresh);
    return fresh;
  };
  for (const each of nodes) b.add({ ...each, name: `${node.name}/${each.name}`, inputs: each.inputs.map(at), outputs: each.outputs.map(at) });
  return graph.outputs.map(({ name }) => at(name));
}

const truth = (b: Builder, value: string): boolean | undefined => {
  const known = b.known(value);
  return known === undefined ? undefined : Number(known.data[0] ?? 0) !== 0;
};

/** Writes a branch out. One that the shapes at hand do not allow is never taken, which the condition must say beforehand. */
function possible(b: Builder, node: Node, name: string): string[] {
  try {
    return inline(b, node, graphOf(node, name), []);
  } catch (error) {
    if (error instanceof RuntimeError && error.code === 'E_MODEL_SHAPE') throw notConstant(node, 0, 'cond');
    throw error;
  }
}

/** A condition that is computed: both branches, when they give tensors of the same shapes, and a choice among their results. */
function both(b: Builder, node: Node, condition: string): string[] {
  const [yes, no] = [possible(b, node, 'then_branch'), possible(b, node, 'else_branch')];
  return yes.map((value, i) => {
    const other = no[i];
    if (other === undefined) throw misshapen(node, `the branches have ${yes.length} and ${no.length} outputs`);
    if ([value, other].some((name) => b.sequence(name) !== undefined || b.isEmpty(name))) throw notConstant(node, 0, 'cond');
    const [a, c] = [b.type(value), b.type(other)];
    if (a.dtype !== c.dtype || !sameShape(a.shape, c.shape)) throw notConstant(node, 0, 'cond');
    return new Notation(b).where(condition, value, other);
  });
}

const branch: Expansion = (b, node) => {
  const condition = operand({ ...node, inputs: operandsOf(node).operands }, 0);
  const taken = truth(b, condition);
  if (taken === undefined) return both(b, node, condition);
  return inline(b, node, graphOf(node, taken ? 'then_branch' : 'else_branch'), []);
};

/** What no step gave: the body states its shape, and sizes that it leaves open are 0. */
function nothing(b: Builder, node: Node, { dtype, dims }: OnnxValueInfo, axis: number): string {
  if (dims === undefined || dtype === undefined) throw unsupported(node, 'no step was run, and the body does not state the shape of what the steps give');
  const shape = dims.map((dim) => (typeof dim === 'number' ? dim : 0));
  return b.constant(fromNumbers(dtype, [...shape.slice(0, axis), 0, ...shape.slice(axis)], []));
}

/** Rows of what every step gave, one below the other. */
function stacked(b: Builder, node: Node, parts: readonly string[], { axis, given }: { axis: number; given: OnnxValueInfo | undefined }): string {
  if (parts.length === 0 && given !== undefined) return nothing(b, node, given, axis);
  const m = new Notation(b);
  return m.concat(parts.map((part) => {
    const shape = m.shape(part);
    return m.reshape(part, [...shape.slice(0, axis), 1, ...shape.slice(axis)]);
  }), axis);
}

function tooManySteps(node: Node, steps: number): RuntimeError {
  return new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${maximumSteps} steps but there are ${steps}`, { details: { node: node.name, op: node.op } });
}

/** A loop whose body computes whether it goes on. */
function openCourse(node: Node, condition: string): RuntimeError {
  const { message, details } = unsupported(node, 'whether it goes on is computed while the model runs', 'body');
  return new RuntimeError('E_MODEL_OP', message, { details: { ...details, operand: condition } });
}

const loop: Expansion = (b, node) => {
  const { operands } = operandsOf(node);
  const [tripName, conditionName, initial] = [optionalOperand({ inputs: operands }, 0), optionalOperand({ inputs: operands }, 1), operands.slice(2)];
  const body = graphOf(node, 'body');
  const trips = tripName === undefined ? Infinity : Number(b.known(tripName)?.data[0] ?? NaN);
  if (Number.isNaN(trips)) throw notConstant(node, 0, 'M');
  const m = new Notation(b);
  let [condition, states]: [string | undefined, readonly string[]] = [conditionName, initial];
  const scans: string[][] = body.outputs.slice(1 + initial.length).map(() => []);
  for (let step = 0; step < trips; step++) {
    const goesOn = condition === undefined ? true : truth(b, condition);
    if (goesOn === undefined) throw step === 0 ? notConstant(node, 1, 'cond') : openCourse(node, condition ?? absent);
    if (!goesOn) break;
    if (step >= maximumSteps) throw tooManySteps(node, step + 1);
    const [next, ...rest] = inline(b, node, body, [m.number(step, 'int64'), condition ?? m.number(1, 'bool'), ...states]);
    condition = next;
    states = rest.slice(0, initial.length);
    rest.slice(initial.length).forEach((row, i) => scans[i]?.push(row));
  }
  return [...states, ...scans.map((parts, i) => (optionalOutput(node, initial.length + i) === undefined ? absent : stacked(b, node, parts, { axis: 0, given: body.outputs[1 + initial.length + i] })))];
};

const scan: Expansion = (b, node) => {
  if (b.opset < 9) return batchedScan(b, node);
  const { operands } = operandsOf(node);
  const body = graphOf(node, 'body');
  const count = intAttribute(node, 'num_scan_inputs', 0);
  const [initial, sequences] = [operands.slice(0, operands.length - count), operands.slice(operands.length - count)];
  const m = new Notation(b);
  const axes = sequences.map((value, i) => normalizeAxis(node, intsAttribute(node, 'scan_input_axes')?.[i] ?? 0, m.shape(value).length));
  const lengths = new Set(sequences.map((value, i) => m.shape(value)[axes[i] ?? 0] ?? 0));
  const [steps = 0] = lengths;
  if (lengths.size !== 1) throw misshapen(node, `Expected sequences of one length but received ${[...lengths].join(', ')}`);
  if (steps > maximumSteps) throw tooManySteps(node, steps);
  const backwards = (name: string, i: number): boolean => intsAttribute(node, name)?.[i] === 1;
  let states: readonly string[] = initial;
  const outputs: string[][] = body.outputs.slice(initial.length).map(() => []);
  for (let step = 0; step < steps; step++) {
    const rows = sequences.map((value, i) => m.gather(value, m.number(backwards('scan_input_directions', i) ? steps - 1 - step : step, 'int64'), axes[i] ?? 0));
    const results = inline(b, node, body, [...states, ...rows]);
    states = results.slice(0, initial.length);
    results.slice(initial.length).forEach((row, i) => outputs[i]?.push(row));
  }
  const given = outputs.map((parts, i) => {
    const [first] = parts;
    if (optionalOutput(node, initial.length + i) === undefined) return absent;
    const given = body.outputs[initial.length + i];
    const rank = (first === undefined ? (given?.dims?.length ?? 0) : m.shape(first).length) + 1;
    const axis = normalizeAxis(node, intsAttribute(node, 'scan_output_axes')?.[i] ?? 0, rank);
    return stacked(b, node, backwards('scan_output_directions', i) ? [...parts].reverse() : parts, { axis, given });
  });
  return [...states, ...given];
};

/** Operator set 8: sequences [batch, steps, ...], an optional list of their lengths before the operands, and the body run for each of the batch. */
function batchedScan(b: Builder, node: Node): string[] {
  const { operands } = operandsOf(node);
  if (operands[0] !== absent) throw unsupported(node, 'sequences of several lengths; convert the model to operator set 9 or later', 'sequence_lens');
  if (intsAttribute(node, 'directions')?.some((direction) => direction !== 0) === true) throw unsupported(node, 'backward sequences; convert the model to operator set 9 or later', 'directions');
  const body = graphOf(node, 'body');
  const [values, count] = [operands.slice(1), intAttribute(node, 'num_scan_inputs', 0)];
  const states = values.length - count;
  const m = new Notation(b);
  const [batch = 1, steps = 1] = m.shape(values[states] ?? absent);
  if (batch * steps > maximumSteps) throw tooManySteps(node, batch * steps);
  const results = Array.from({ length: batch }, (_, image) => {
    const at = (value: string, index: number): string => m.gather(value, m.number(index, 'int64'), 0);
    let own: readonly string[] = values.slice(0, states).map((value) => at(value, image));
    const rows = values.slice(states).map((value) => at(value, image));
    const given: string[][] = body.outputs.slice(states).map(() => []);
    for (let step = 0; step < steps; step++) {
      const made = inline(b, node, body, [...own, ...rows.map((row) => at(row, step))]);
      own = made.slice(0, states);
      made.slice(states).forEach((row, i) => given[i]?.push(row));
    }
    return [...own, ...given.map((parts, i) => stacked(b, node, parts, { axis: 0, given: body.outputs[states + i] }))];
  });
  return (results[0] ?? []).map((_, i) => stacked(b, node, results.map((each) => each[i] ?? absent), { axis: 0, given: undefined }));
}

/** The body for each element of the sequences; a tensor is the same for all. */
const sequenceMap: Expansion = (b, node) => {
  const { operands } = operandsOf(node);
  const [first] = operands;
  const length = b.sequence(first ?? absent)?.length;
  if (length === undefined) throw unsupported(node, 'input 0 is a tensor, or a sequence that the model is fed; expected a sequence that it makes');
  const body = graphOf(node, 'body');
  const results = Array.from({ length }, (_, i) => inline(b, node, body, operands.map((value) => b.sequence(value)?.[i] ?? value)));
  return body.outputs.map((_, output) => {
    const name = b.fresh(`${node.name}.sequence`);
    b.setSequence(name, results.map((each) => each[output] ?? absent));
    return name;
  });
};

export const controlFlow: Readonly<Record<string, Expansion>> = { If: branch, Loop: loop, Scan: scan, SequenceMap: sequenceMap };
