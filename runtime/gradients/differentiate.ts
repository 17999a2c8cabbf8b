import { RuntimeError } from '../errors.js';
import { removeDead, typeOf, type Graph, type Node } from '../graph/graph.js';
import { absent, optionalOutput, withOperand } from '../graph/operands.js';
import { raiseOpset } from '../graph/raise-opset.js';
import { elementCount, type ValueType } from '../graph/tensor-value.js';
import { Calculus, noGradient, Step, type GradientEntry } from './rule.js';
import { gradientOf } from './rules/table.js';
import { Tape } from './tape.js';

export interface Differentiation {
  /** A float32 value of one element. */
  readonly loss: string;
  /** Values of the graph to differentiate by: inputs, constants (weights, scales, zero-points), or results of nodes. */
  readonly wrt: readonly string[];
}

export interface Differentiated {
  /** The graph, its outputs followed by the loss (if it was none of them) and by the gradients. */
  readonly graph: Graph;
  /** The output that holds the gradient by each value of `wrt`. It has the shape of the value and is float32. */
  readonly gradients: ReadonlyMap<string, string>;
}

/** First operator set with all operators that rules write: scatters that add came with 16. */
const gradientOpset = 17;

/** An inferred graph in an operator set that can express gradients. @throws RuntimeError E_MODEL_OP naming a node without an equivalent */
function recent(graph: Graph, { loss, wrt }: Differentiation): Graph {
  // Nodes that no output needs would be dropped on the way.
  const wanted = new Set([...graph.outputs, loss, ...wrt.filter((value) => !graph.constants.has(value) && !graph.inputs.includes(value))]);
  const raised = { ...raiseOpset({ ...graph, outputs: [...wanted] }, 'E_MODEL_OP'), outputs: graph.outputs };
  // From 13 to 17 no operator that inference knows changed its form.
  return raised.opset >= gradientOpset ? raised : { ...raised, opset: gradientOpset };
}

function check(graph: Graph, { loss, wrt }: Differentiation): void {
  const known = (value: string): ValueType => {
    const type = graph.constants.has(value) || graph.types.has(value) ? typeOf(graph, value) : undefined;
    if (type === undefined) throw new RuntimeError('E_GRADIENT', `The graph has no value '${value}'`, { details: { value } });
    return type;
  };
  const { dtype, shape } = known(loss);
  if (dtype !== 'float32' || elementCount(shape) !== 1) throw new RuntimeError('E_GRADIENT', `Loss '${loss}': expected float32 of one element but found ${dtype} [${shape.join(', ')}]`, { details: { value: loss } });
  for (const value of wrt) known(value);
  if (wrt.length === 0 || new Set(wrt).size !== wrt.length) throw new RuntimeError('E_GRADIENT', `Expected different values to differentiate by but received [${wrt.join(', ')}]`);
}

/** Puts a node of the model on the tape: as it is, with one more output, or written as others. */
function forward(tape: Tape, graph: Graph, node: Node): void {
  const entry = node.inputs.some((name) => tape.active.has(name)) ? gradientOf(node) : undefined;
  const types = node.outputs.map((name): ValueType => (name === absent ? { dtype: 'float32', shape: [] } : typeOf(graph, name)));
  if (entry !== undefined && 'compose' in entry) {
    tape.origin = node.name;
    const made = entry.compose(new Calculus(tape), node);
    node.outputs.forEach((output, i) => {
      if (output === absent) return;
      const value = made[i];
      if (value === undefined) throw noGradient(node, `there is no gradient for its output ${i}`);
      tape.alias(output, value);
    });
  } else if (entry !== undefined && 'rule' in entry && entry.augment !== undefined) {
    const { output, type } = entry.augment(tape, node);
    const outputs = optionalOutput(node, output) !== undefined ? node.outputs : withOperand(node.outputs, output, tape.fresh(`${node.name}.output`));
    tape.push({ ...node, outputs }, outputs.map((_, i) => (i === output ? type : (types[i] ?? type))));
  } else {
    tape.follow(node, types);
  }
}

/** The gradients that have arrived at each value so far. */
class Arrivals {
  private readonly parts = new Map<string, string[]>();
  constructor(private readonly m: Calculus) {}

  add(value: string, gradient: string): void {
    const parts = this.parts.get(value);
    if (parts === undefined) this.parts.set(value, [gradient]);
    else parts.push(gradient);
  }
  /** Their sum; undefined where none arrived. */
  total(value: string): string | undefined {
    const parts = this.parts.get(value);
    if (parts === undefined) return undefined;
    const sum = parts.reduce(this.m.add);
    this.parts.set(value, [sum]);
    return sum;
  }
}

function backward(tape: Tape, m: Calculus, node: Node, arrivals: Arrivals): void {
  const gradients = node.outputs.map((output) => (output !== absent && tape.active.has(output) ? arrivals.total(output) : undefined));
  if (gradients.every((gradient) => gradient === undefined) || !node.inputs.some((name) => tape.active.has(name))) return;
  const entry: GradientEntry | undefined = gradientOf(node);
  if (entry === undefined || 'compose' in entry) throw noGradient(node, 'there is no gradient for this operator');
  if ('flat' in entry) return;
  tape.origin = `${node.name}.gradient`;
  const adjoints = entry.rule(new Step(m, node, gradients));
  node.inputs.forEach((input, i) => {
    const adjoint = adjoints[i];
    if (adjoint !== undefined && tape.active.has(input)) arrivals.add(input, adjoint());
  });
}

/**
 * Reverse-mode differentiation of a graph, as a graph: an ordinary one of ONNX operators, which can be saved and runs on either engine
 * (Griewank and Walther, Evaluating Derivatives, chapter 3: the adjoint of each operator, in reverse order). QuantizeLinear and
 * DequantizeLinear follow straight-through rules.
 * @param graph inferred, of ONNX operators. Weights should be constants when types are inferred: inference replaces convolutions whose weights
 * are computed by products. `constantsToInputs` makes them inputs afterwards
 * @throws RuntimeError E_GRADIENT: an operator without a gradient on the way, a loss that is no scalar or does not depend on a value;
 * E_MODEL_OP: a node without an equivalent in a recent operator set; other E_MODEL_*
 */
export function differentiate(graph: Graph, options: Differentiation): Differentiated {
  check(graph, options);
  const ready = recent(graph, options);
  const { loss, wrt } = options;
  const tape = new Tape(ready, wrt);
  for (const node of ready.nodes) forward(tape, ready, node);
  const model = [...tape.nodes];
  const m = new Calculus(tape);
  const arrivals = new Arrivals(m);
  arrivals.add(loss, m.tensor('float32', tape.type(loss).shape, [1]));
  for (const node of model.reverse()) backward(tape, m, node, arrivals);
  const gradients = new Map(wrt.map((value) => {
    const total = arrivals.total(value);
    if (total === undefined) throw new RuntimeError('E_GRADIENT', `The loss '${loss}' does not change with '${value}'`, { details: { value } });
    const name = tape.fresh(`${value}.gradient`);
    tape.alias(name, total);
    return [value, name];
  }));
  const outputs = [...new Set([...ready.outputs, loss]), ...gradients.values()];
  return { graph: removeDead({ ...ready, nodes: tape.nodes, constants: tape.constants, types: tape.types, outputs }), gradients };
}

/** The graph with constants as inputs, which are fed in each run: weights that are trained. @throws RuntimeError E_GRADIENT: no such constant */
export function constantsToInputs(graph: Graph, names: readonly string[]): Graph {
  const constants = new Map(graph.constants);
  const types = new Map(graph.types);
  for (const name of names) {
    const value = constants.get(name);
    if (value === undefined) throw new RuntimeError('E_GRADIENT', `The graph has no constant '${name}'`, { details: { value: name } });
    constants.delete(name);
    types.set(name, { dtype: value.dtype, shape: value.dims });
  }
  return { ...graph, constants, types, inputs: [...graph.inputs, ...names] };
}
