import { RuntimeError } from '../errors.js';
import type { AttributeRecord, Builder } from '../expand/builder.js';
import { absent } from '../graph/operands.js';
import { limitsOf, type Graph, type GraphLimits, type Node } from '../graph/graph.js';
import { UniqueNames } from '../graph/unique-names.js';
import { elementCount, type TensorValue, type ValueType } from '../graph/tensor-value.js';
import { foldBudget, inferNode, knownOutputs, type FoldBudget } from '../infer/infer-node.js';

/** Values up to this many elements are followed when they are known: shape arithmetic, not weights. */
const shapeArithmeticElements = 4096;

/**
 * The nodes of a graph and those that gradient rules add, each typed when it is added. Unlike the expander of inference it leaves all
 * operators as they are, and it takes no value for known that depends on what is differentiated by.
 */
export class Tape implements Builder {
  readonly eager = false;
  readonly nodes: Node[] = [];
  readonly constants: Map<string, TensorValue>;
  readonly types: Map<string, ValueType>;
  readonly limits: GraphLimits;
  /** Values that change with what is differentiated by, and whose gradients are followed. */
  readonly active: Set<string>;
  private readonly values = new Map<string, TensorValue>();
  private readonly producers = new Map<string, Node>();
  private readonly names: UniqueNames;
  private readonly budget: FoldBudget;
  /** What added nodes are named after. */
  origin = 'gradient';

  constructor(private readonly graph: Graph, wrt: readonly string[]) {
    this.limits = limitsOf(graph);
    this.constants = new Map(graph.constants);
    this.types = new Map(graph.types);
    this.active = new Set(wrt);
    this.budget = foldBudget(graph);
    this.names = new UniqueNames([...graph.inputs, ...graph.constants.keys(), ...graph.nodes.flatMap((node) => [node.name, ...node.outputs])]);
  }

  get opset(): number {
    return this.graph.opset;
  }
  type(value: string): ValueType {
    const constant = this.constants.get(value);
    const type = constant === undefined ? this.types.get(value) : { dtype: constant.dtype, shape: constant.dims };
    if (type === undefined) throw new RuntimeError('E_MODEL_SHAPE', `The type of value '${value}' is not known`);
    return type;
  }
  known(value: string | undefined): TensorValue | undefined {
    return value === undefined || this.active.has(value) ? undefined : (this.values.get(value) ?? this.constants.get(value));
  }
  producer(value: string): Node | undefined {
    return this.producers.get(value);
  }
  sequence(): undefined {
    return undefined;
  }
  setSequence(): void {
    throw new RuntimeError('E_GRADIENT', 'Sequences have no gradient');
  }
  isOutput(value: string): boolean {
    return this.graph.outputs.includes(value);
  }
  isEmpty(): boolean {
    return false;
  }
  setEmpty(): void {
    throw new RuntimeError('E_GRADIENT', 'Optionals have no gradient');
  }
  constant(value: TensorValue): string {
    const name = this.fresh(`${this.origin}.constant`);
    this.constants.set(name, value);
    return name;
  }
  fresh(base: string): string {
    return this.names.fresh(base);
  }
  emit(op: string, inputs: readonly string[], attributes: AttributeRecord = {}): string {
    return this.emitAll(op, inputs, 1, attributes)[0] ?? absent;
  }
  emitAll(op: string, inputs: readonly string[], outputs: number, attributes: AttributeRecord = {}): string[] {
    const made = Array.from({ length: outputs }, () => this.fresh(this.origin));
    this.add({ name: made[0] ?? op, op, inputs, outputs: made, attributes: new Map(Object.entries(attributes)) });
    return made;
  }
  /** As `emit`, for an operator or a form of one that inference replaces by others. */
  emitTyped(op: string, inputs: readonly string[], type: ValueType, attributes: AttributeRecord = {}): string {
    const made = this.fresh(this.origin);
    this.push({ name: made, op, inputs, outputs: [made], attributes: new Map(Object.entries(attributes)) }, [type]);
    return made;
  }
  alias(output: string, value: string): void {
    if (output !== absent && output !== value) this.add({ name: output, op: 'Identity', inputs: [value], outputs: [output], attributes: new Map() });
  }

  /** @throws RuntimeError E_MODEL_OP, E_MODEL_SHAPE, E_MODEL_LIMIT */
  add(node: Node): void {
    this.push(node, inferNode({ ...this.graph, constants: this.constants }, node, this.types, this.values));
  }

  /** Adds a node of the model as it is, and follows what it computes of shapes. */
  follow(node: Node, types: readonly ValueType[]): void {
    this.push(node, types);
    if (!node.inputs.some((name) => this.active.has(name))) this.evaluate(node, types);
  }

  /** Adds a node whose types are known. */
  push(node: Node, types: readonly ValueType[]): void {
    if (this.nodes.length >= this.limits.nodes) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${this.limits.nodes} nodes with the gradients`, { details: { node: node.name, op: node.op } });
    node.outputs.forEach((name, i) => {
      const type = types[i];
      if (name === absent || type === undefined) return;
      this.types.set(name, type);
      this.producers.set(name, node);
    });
    this.nodes.push(node);
    if (node.inputs.some((name) => this.active.has(name))) this.activate(node);
  }

  /** A float result of something active is active, and so are the codes that it is quantized to. */
  private activate(node: Node): void {
    for (const name of node.outputs) {
      if (name !== absent && (node.op === 'QuantizeLinear' || this.types.get(name)?.dtype === 'float32')) this.active.add(name);
    }
  }

  private evaluate(node: Node, types: readonly ValueType[]): void {
    if (types.reduce((sum, { shape }) => sum + elementCount(shape), 0) > shapeArithmeticElements) return;
    const results = knownOutputs({ ...this.graph, constants: this.constants }, node, { types: this.types, known: this.values, budget: this.budget }, types);
    node.outputs.forEach((name, i) => {
      const value = results?.[i];
      if (value !== undefined) this.values.set(name, value);
    });
  }
}
