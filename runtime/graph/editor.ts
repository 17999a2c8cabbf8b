import type { Attribute } from './attributes.js';
import { RuntimeError } from '../errors.js';
import { constantElements, limitsOf, removeDead, sortNodes, typeOf, type Graph, type GraphLimits, type Node } from './graph.js';
import type { TensorValue, ValueType } from './tensor-value.js';

export interface NodeSpec {
  name: string;
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: Readonly<Record<string, Attribute>> | ReadonlyMap<string, Attribute>;
}

/**
 * The mutable working copy of one pass: nodes, constants and types with use-def indices that stay right while the pass
 * rewrites. `finish` sorts, removes what died, and gives back an immutable graph.
 */
export class GraphEditor {
  private readonly nodes: Set<Node>;
  private readonly constants: Map<string, TensorValue>;
  private readonly types: Map<string, ValueType>;
  private readonly producers = new Map<string, Node>();
  private readonly users = new Map<string, Set<Node>>();
  private readonly outputs: ReadonlySet<string>;
  private readonly names: Set<string>;
  private elements: number;
  private changed = false;

  constructor(private readonly graph: Graph) {
    this.nodes = new Set(graph.nodes);
    this.constants = new Map(graph.constants);
    this.elements = constantElements(graph.constants);
    this.types = new Map(graph.types);
    this.outputs = new Set(graph.outputs);
    this.names = new Set([...graph.inputs, ...graph.constants.keys(), ...graph.types.keys()]);
    for (const node of graph.nodes) this.index(node);
  }

  private index(node: Node): void {
    for (const output of node.outputs) {
      if (output === '') continue;
      this.producers.set(output, node);
      this.names.add(output);
    }
    for (const input of node.inputs) {
      if (input === '') continue;
      const users = this.users.get(input);
      if (users === undefined) this.users.set(input, new Set([node]));
      else users.add(node);
    }
  }

  /** A snapshot: safe to iterate while editing. Check `has` before acting on a node. */
  all(): Node[] {
    return [...this.nodes];
  }
  has(node: Node): boolean {
    return this.nodes.has(node);
  }
  get opset(): number {
    return this.graph.opset;
  }
  get inputs(): readonly string[] {
    return this.graph.inputs;
  }
  get limits(): GraphLimits {
    return limitsOf(this.graph);
  }
  /** Elements that further constants may have. */
  get constantRoom(): number {
    return this.limits.constantElements - this.elements;
  }
  producer(value: string | undefined): Node | undefined {
    return value === undefined ? undefined : this.producers.get(value);
  }
  consumers(value: string): Node[] {
    return [...(this.users.get(value) ?? [])];
  }
  constant(value: string | undefined): TensorValue | undefined {
    return value === undefined ? undefined : this.constants.get(value);
  }
  isOutput(value: string): boolean {
    return this.outputs.has(value);
  }
  type(value: string): ValueType {
    const constant = this.constants.get(value);
    if (constant !== undefined) return { dtype: constant.dtype, shape: constant.dims };
    return this.types.get(value) ?? typeOf(this.graph, value);
  }

  /** The only reader of a value, when there is exactly one and the value is not an output of the graph. */
  soleConsumer(value: string): Node | undefined {
    const users = this.users.get(value);
    if (users === undefined || users.size !== 1 || this.isOutput(value)) return undefined;
    return [...users][0];
  }

  /** A value name not used before, derived from `base`. */
  fresh(base: string): string {
    let name = base;
    for (let i = 1; this.names.has(name); i++) name = `${base}~${i}`;
    this.names.add(name);
    return name;
  }

  /** @throws RuntimeError E_MODEL_LIMIT */
  addConstant(base: string, value: TensorValue): string {
    const name = this.fresh(base);
    this.setConstant(name, value);
    return name;
  }

  /** Nothing is subtracted for constants that a pass no longer needs: they are in memory until it ends. */
  private setConstant(name: string, value: TensorValue): void {
    if (value.data.length > this.constantRoom) {
      throw new RuntimeError('E_MODEL_LIMIT', `Constant '${name}': compiling makes more than ${this.limits.constantElements} elements of the model's constants`, { details: { constant: name } });
    }
    this.elements += value.data.length;
    this.constants.set(name, value);
    this.changed = true;
  }

  /** Replaces a node's output by a constant. @throws RuntimeError E_MODEL_LIMIT */
  fold(output: string, value: TensorValue): void {
    this.producers.delete(output);
    this.setConstant(output, value);
  }

  setType(value: string, type: ValueType): void {
    this.types.set(value, type);
  }

  add(spec: NodeSpec): Node {
    const attributes = spec.attributes instanceof Map ? spec.attributes : new Map(Object.entries(spec.attributes ?? {}));
    const node: Node = { name: spec.name, op: spec.op, inputs: [...spec.inputs], outputs: [...spec.outputs], attributes };
    this.nodes.add(node);
    this.index(node);
    this.changed = true;
    return node;
  }

  /** Adds a node with one new output of the given type, and returns the output's name. */
  insert(spec: Omit<NodeSpec, 'outputs'>, type: ValueType): string {
    const output = this.fresh(spec.name);
    this.setType(output, type);
    this.add({ ...spec, outputs: [output] });
    return output;
  }

  remove(node: Node): void {
    this.nodes.delete(node);
    for (const output of node.outputs) if (this.producers.get(output) === node) this.producers.delete(output);
    for (const input of node.inputs) this.users.get(input)?.delete(node);
    this.changed = true;
  }

  /** Replaces a node by another that makes the same outputs. */
  replace(node: Node, spec: Partial<NodeSpec>): Node {
    this.remove(node);
    return this.add({ ...node, ...spec });
  }

  /**
   * Makes every reader of `from` read `to`. When `from` is an output of the graph its name must survive, so whatever makes
   * `to` makes `from` instead; false when that is impossible (`to` is an input, a constant or an output itself).
   */
  redirect(from: string, to: string): boolean {
    if (this.isOutput(from)) return this.takeName(from, to);
    for (const user of this.consumers(from)) {
      this.replace(user, { inputs: user.inputs.map((input) => (input === from ? to : input)) });
    }
    return true;
  }

  private takeName(from: string, to: string): boolean {
    const maker = this.producers.get(to);
    if (maker === undefined || this.isOutput(to)) return false;
    const old = this.producers.get(from);
    if (old !== undefined) this.remove(old);
    this.setType(from, this.type(to));
    this.replace(maker, { outputs: maker.outputs.map((output) => (output === to ? from : output)) });
    for (const user of this.consumers(to)) {
      this.replace(user, { inputs: user.inputs.map((input) => (input === to ? from : input)) });
    }
    return true;
  }

  /** The edited graph; the very same object when nothing changed. */
  finish(): Graph {
    if (!this.changed) return this.graph;
    const given = [...this.graph.inputs, ...this.constants.keys()];
    const live = [...this.nodes].filter((node) => node.outputs.some((output) => this.producers.get(output) === node));
    const edited: Graph = {
      ...this.graph,
      outputs: this.graph.outputs,
      nodes: sortNodes(live, given),
      constants: this.constants,
      types: this.types,
    };
    return removeDead(edited);
  }
}

