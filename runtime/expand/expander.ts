import { RuntimeError } from '../errors.js';
import { misshapen, unsupported } from '../graph/attributes.js';
import { limitsOf, type Graph, type GraphLimits, type Node } from '../graph/graph.js';
import { UniqueNames } from '../graph/unique-names.js';
import { elementCount, type TensorValue, type ValueType } from '../graph/tensor-value.js';
import { foldBudget, inferNode, knownOutputs, type FoldBudget } from '../infer/infer-node.js';
import type { AttributeRecord, Builder } from './builder.js';
import { expansions } from './expansions.js';
import { absent } from '../graph/operands.js';

/** Values up to this many elements are evaluated during inference: enough for shape arithmetic, too few for weights. */
const shapeArithmeticElements = 4096;

/** Nodes that an eager run may compute, every step of a loop counted: some seconds. */
const maximumComputed = 1 << 19;

/** Expansions within expansions: nested control flow and functions; what lies deeper is a mistake or an attack. */
const maximumDepth = 64;

/** Operators whose later operands are weights, which the engine packs when it loads a program. */
const weighted = new Set(['Conv', 'ConvTranspose', 'ConvInteger', 'MatMul', 'MatMulInteger', 'Gemm', 'RNN', 'GRU', 'LSTM', 'PRelu', 'InstanceNormalization', 'LayerNormalization']);

export interface ExpanderOptions {
  /** Every node is computed at once, whatever its size; constants and feeds are values. */
  readonly eager?: boolean;
  /** Further names that no new value may have: those that values are given under later. */
  readonly reserved?: Iterable<string>;
}

/**
 * Types the nodes of a graph one after the other, and replaces those that are defined by other operators (`expansions.ts`): control flow
 * whose course is known, sequences, operators of other domains. With `eager` it is an interpreter: everything is known.
 */
export class Expander implements Builder {
  readonly nodes: Node[] = [];
  readonly constants: Map<string, TensorValue>;
  readonly types: Map<string, ValueType>;
  readonly limits: GraphLimits;
  readonly eager: boolean;
  private readonly values = new Map<string, TensorValue>();
  private readonly producers = new Map<string, Node>();
  private readonly sequences = new Map<string, readonly string[]>();
  private readonly empty = new Set<string>();
  private readonly names: UniqueNames;
  private readonly budget: FoldBudget;
  private current: Node | undefined;
  private depth = 0;
  private expanded = false;
  private count = 0;

  constructor(private readonly graph: Graph, { eager = false, reserved = [] }: ExpanderOptions = {}) {
    this.eager = eager;
    this.limits = limitsOf(graph);
    this.constants = new Map(graph.constants);
    this.types = new Map(graph.inputs.map((name) => [name, graph.types.get(name) ?? { dtype: 'float32', shape: [] }]));
    this.budget = foldBudget(graph);
    this.names = new UniqueNames([...reserved, ...graph.inputs, ...(graph.containers?.keys() ?? []), ...graph.constants.keys(), ...graph.nodes.flatMap((node) => node.outputs)]);
  }

  get opset(): number {
    return this.graph.opset;
  }
  type(value: string): ValueType {
    const given = this.known(value);
    const type = given === undefined ? this.types.get(value) : { dtype: given.dtype, shape: given.dims };
    if (type !== undefined) return type;
    if (this.sequences.has(value)) throw unsupported(this.node(), `'${value}' is a sequence, where a tensor is expected`);
    if (this.empty.has(value)) throw misshapen(this.node(), `'${value}' is an optional that holds nothing, where a tensor is expected`);
    if (this.graph.containers?.has(value) === true) throw unsupported(this.node(), `'${value}' is a sequence or an optional that is fed, so what it holds is known only in a run`);
    throw new RuntimeError('E_MODEL_SHAPE', `The type of value '${value}' is not known`);
  }
  known(value: string | undefined): TensorValue | undefined {
    return value === undefined ? undefined : (this.values.get(value) ?? this.constants.get(value));
  }
  producer(value: string): Node | undefined {
    return this.producers.get(value);
  }
  sequence(value: string): readonly string[] | undefined {
    return this.sequences.get(value);
  }
  setSequence(value: string, parts: readonly string[]): void {
    this.sequences.set(value, parts);
  }
  isEmpty(value: string): boolean {
    return this.empty.has(value);
  }
  setEmpty(value: string): void {
    this.empty.add(value);
  }
  constant(value: TensorValue): string {
    const name = this.fresh(`${this.node().name}.constant`);
    this.constants.set(name, value);
    return name;
  }
  fresh(base: string): string {
    return this.names.fresh(base);
  }
  emit(op: string, inputs: readonly string[], attributes: AttributeRecord = {}): string {
    const made = this.fresh(this.node().name);
    this.addNamed(op, inputs, [made], attributes);
    return made;
  }
  emitAll(op: string, inputs: readonly string[], outputs: number, attributes: AttributeRecord = {}): string[] {
    const made = Array.from({ length: outputs }, () => this.fresh(this.node().name));
    this.addNamed(op, inputs, made, attributes);
    return made;
  }
  private addNamed(op: string, inputs: readonly string[], made: readonly string[], attributes: AttributeRecord): void {
    const { name } = this.node();
    this.add({ name, op, inputs, outputs: made, attributes: new Map(Object.entries(attributes)) });
  }
  alias(output: string, value: string): void {
    if (output === '' || value === output) return;
    const parts = this.sequences.get(value);
    if (this.empty.has(value)) this.empty.add(output);
    else if (parts !== undefined) this.sequences.set(output, parts);
    else this.infer({ name: this.node().name, op: 'Identity', inputs: [value], outputs: [output], attributes: new Map() });
  }

  private node(): Node {
    return this.current ?? { name: '', op: '', inputs: [], outputs: [], attributes: new Map() };
  }

  /** @throws RuntimeError E_MODEL_OP, E_MODEL_SHAPE, E_MODEL_LIMIT */
  add(node: Node): void {
    const outer = this.current;
    this.current = node;
    if (++this.depth > maximumDepth) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${maximumDepth} operators within each other`, { details: { node: node.name, op: node.op } });
    try {
      const given = weighted.has(node.op) && !this.eager ? this.withFilledWeights(node) : node;
      const made = Object.hasOwn(expansions, node.op) ? expansions[node.op]?.(this, given) : undefined;
      if (made === undefined) this.infer(given);
      else this.finish(node, made);
    } finally {
      this.depth -= 1;
      this.current = outer;
    }
  }

  /** Weights that a ConstantOfShape makes, which is too large to be evaluated with the shape arithmetic, as constants. */
  private withFilledWeights(node: Node): Node {
    const inputs = node.inputs.map((name, i) => {
      const producer = this.producers.get(name);
      const type = this.types.get(name);
      if (i === 0 || producer?.op !== 'ConstantOfShape' || type === undefined || this.known(name) !== undefined) return name;
      const [value] = knownOutputs({ ...this.graph, constants: this.constants }, producer, { types: this.types, known: this.values, budget: this.budget }, [type]) ?? [];
      return value === undefined ? name : this.constant(value);
    });
    if (inputs.every((name, i) => name === node.inputs[i])) return node;
    this.expanded = true;
    return { ...node, inputs };
  }

  private finish(node: Node, made: readonly string[]): void {
    this.expanded = true;
    node.outputs.forEach((output, i) => {
      if (output === '') return;
      const value = made[i];
      if (value === undefined || value === absent) throw misshapen(node, `there is no output ${i}`);
      this.alias(output, value);
    });
  }

  private infer(node: Node): void {
    if (++this.count > (this.eager ? maximumComputed : this.limits.nodes)) {
      throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${this.eager ? maximumComputed : this.limits.nodes} nodes after expansion`, { details: { node: node.name, op: node.op } });
    }
    this.checkKnownSizes(node);
    const outputs = inferNode({ ...this.graph, constants: this.constants }, node, this.types, this.values);
    node.outputs.forEach((name, i) => {
      const type = outputs[i];
      if (name !== '' && type !== undefined) this.types.set(name, type);
    });
    if (!this.eager) {
      this.nodes.push(node);
      for (const name of node.outputs) this.producers.set(name, node);
    }
    this.evaluate(node, outputs);
  }

  /** The type of what a suppression selects says how many rows there may be: nothing that follows from it is known before a run. */
  private checkKnownSizes(node: Node): void {
    const index = this.eager ? -1 : node.inputs.findIndex((name) => this.producers.get(name)?.op === 'NonMaxSuppression' && this.known(name) === undefined);
    if (index < 0) return;
    const { details } = unsupported(node, 'unknown size');
    throw new RuntimeError('E_MODEL_OP', `${node.op} '${node.name}': the number of boxes that NonMaxSuppression selects is known only when the model has run`, { details: { ...details, operand: node.inputs[index] } });
  }

  private evaluate(node: Node, outputs: readonly ValueType[]): void {
    if (!this.eager) {
      if (outputs.reduce((sum, { shape }) => sum + elementCount(shape), 0) > shapeArithmeticElements) return;
      if (node.op === 'DequantizeLinear' || node.op === 'QuantizeLinear') return;
    }
    const knowledge = { types: this.types, known: this.values, budget: this.budget, running: this.eager };
    const results = knownOutputs({ ...this.graph, constants: this.constants }, node, knowledge, outputs);
    if (results === undefined && this.eager) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': a run computes more than the model's limits allow`, { details: { node: node.name, op: node.op } });
    node.outputs.forEach((name, i) => {
      const value = results?.[i];
      if (value !== undefined) this.values.set(name, value);
    });
  }

  /** Gives a value to an eager run. */
  give(name: string, value: TensorValue): void {
    this.values.set(name, value);
  }

  /** The values of an eager run. */
  value(name: string): TensorValue | undefined {
    return this.known(name);
  }

  /** The graph with the nodes added, and the type of every value. */
  graphOf(): Graph {
    return { ...this.graph, nodes: this.expanded ? this.nodes : this.graph.nodes, constants: this.expanded ? this.constants : this.graph.constants, types: this.types };
  }
}
