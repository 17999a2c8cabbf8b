import type { Attribute } from './attributes.js';
import { RuntimeError } from '../errors.js';
import { constantElements, consumersOf, limitsOf, producersOf, removeDead, sortNodes, typeOf, type Graph, type GraphLimits, type Node } from './graph.js';
import type { TensorValue, ValueType } from './tensor-value.js';

export interface NodeSpec {
  name: string;
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: Readonly<Record<string, Attribute>> | ReadonlyMap<string, Attribute>;
}

/** Who makes each value of a graph, and who reads it. */
interface Uses {
  readonly producers: ReadonlyMap<string, Node>;
  readonly users: ReadonlyMap<string, Set<Node> | readonly Node[]>;
}

/** Of a graph: its interface as sets, too. */
interface GraphUses extends Uses {
  readonly users: ReadonlyMap<string, readonly Node[]>;
  readonly inputs: ReadonlySet<string>;
  readonly outputs: ReadonlySet<string>;
}

/** Most passes leave most graphs as they are: the next pass need not find out the same again. */
const knownUses = new WeakMap<Graph, GraphUses>();

function usesOf(graph: Graph): GraphUses {
  const known = knownUses.get(graph);
  if (known !== undefined) return known;
  const uses = { producers: producersOf(graph.nodes), users: consumersOf(graph.nodes), inputs: new Set(graph.inputs), outputs: new Set(graph.outputs) };
  knownUses.set(graph, uses);
  return uses;
}

/** What an editor has of its own, from the first change on. */
interface Edits {
  readonly nodes: Set<Node>;
  readonly producers: Map<string, Node>;
  /** The lists are those of the graph until they change: a set for each value would take most of the memory that a pass needs. */
  readonly users: Map<string, Set<Node> | readonly Node[]>;
}

/**
 * The mutable working copy of one pass: nodes, constants and types with use-def indices that stay right while the pass
 * rewrites. `finish` sorts, removes what died, and gives back an immutable graph. Nothing is copied before the first change:
 * an editor that only looks costs next to nothing.
 */
export class GraphEditor {
  private given: GraphUses | undefined;
  private edits: Edits | undefined;
  private ownConstants: Map<string, TensorValue> | undefined;
  private ownTypes: Map<string, ValueType> | undefined;
  /** Elements of all constants, once they matter. */
  private elements: number | undefined;
  /** Names that this editor gave. */
  private readonly names = new Set<string>();
  private changed = false;

  constructor(private readonly graph: Graph) {}

  private get constants(): ReadonlyMap<string, TensorValue> {
    return this.ownConstants ?? this.graph.constants;
  }
  private get before(): GraphUses {
    return (this.given ??= usesOf(this.graph));
  }
  private get uses(): Uses {
    return this.edits ?? this.before;
  }
  private get editing(): Edits {
    if (this.edits === undefined) {
      const { producers, users } = this.before;
      this.edits = { nodes: new Set(this.graph.nodes), producers: new Map(producers), users: new Map(users) };
    }
    return this.edits;
  }

  /** The readers of a value as a set that this editor may change. */
  private readersOf(value: string): Set<Node> {
    const { users } = this.editing;
    const current = users.get(value);
    if (current instanceof Set) return current;
    const own = new Set(current);
    users.set(value, own);
    return own;
  }

  private index(node: Node): void {
    for (const output of node.outputs) {
      if (output === '') continue;
      this.editing.producers.set(output, node);
      this.names.add(output);
    }
    for (const input of node.inputs) if (input !== '') this.readersOf(input).add(node);
  }

  /** A snapshot: safe to iterate while editing. Check `has` before acting on a node. */
  all(): Node[] {
    return [...(this.edits?.nodes ?? this.graph.nodes)];
  }
  has(node: Node): boolean {
    return this.edits === undefined ? node.outputs.some((output) => this.uses.producers.get(output) === node) : this.edits.nodes.has(node);
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
    this.elements ??= constantElements(this.graph.constants);
    return this.limits.constantElements - this.elements;
  }
  producer(value: string | undefined): Node | undefined {
    return value === undefined ? undefined : this.uses.producers.get(value);
  }
  consumers(value: string): Node[] {
    return [...(this.uses.users.get(value) ?? [])];
  }
  constant(value: string | undefined): TensorValue | undefined {
    return value === undefined ? undefined : this.constants.get(value);
  }
  isOutput(value: string): boolean {
    return this.before.outputs.has(value);
  }
  type(value: string): ValueType {
    const constant = this.constants.get(value);
    if (constant !== undefined) return { dtype: constant.dtype, shape: constant.dims };
    return this.ownTypes?.get(value) ?? typeOf(this.graph, value);
  }

  /** The only reader of a value, when there is exactly one and the value is not an output of the graph. */
  soleConsumer(value: string): Node | undefined {
    const users = this.uses.users.get(value);
    if (users === undefined || (users instanceof Set ? users.size : users.length) !== 1 || this.isOutput(value)) return undefined;
    for (const user of users) return user;
    return undefined;
  }

  /** A value name not used before, derived from `base`. */
  fresh(base: string): string {
    let name = base;
    for (let i = 1; this.isTaken(name); i++) name = `${base}~${i}`;
    this.names.add(name);
    return name;
  }

  private isTaken(name: string): boolean {
    const { constants, types } = this.graph;
    return this.names.has(name) || constants.has(name) || types.has(name) || this.before.producers.has(name) || this.before.inputs.has(name);
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
    this.elements = (this.elements ?? 0) + value.data.length;
    this.ownConstants ??= new Map(this.graph.constants);
    this.ownConstants.set(name, value);
    this.changed = true;
  }

  /** Replaces a node's output by a constant. @throws RuntimeError E_MODEL_LIMIT */
  fold(output: string, value: TensorValue): void {
    this.editing.producers.delete(output);
    this.setConstant(output, value);
  }

  setType(value: string, type: ValueType): void {
    this.ownTypes ??= new Map(this.graph.types);
    this.ownTypes.set(value, type);
  }

  add(spec: NodeSpec): Node {
    const attributes = spec.attributes instanceof Map ? spec.attributes : new Map(Object.entries(spec.attributes ?? {}));
    const node: Node = { name: spec.name, op: spec.op, inputs: [...spec.inputs], outputs: [...spec.outputs], attributes };
    this.editing.nodes.add(node);
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
    const { nodes, producers } = this.editing;
    nodes.delete(node);
    for (const output of node.outputs) if (producers.get(output) === node) producers.delete(output);
    for (const input of node.inputs) if (input !== '') this.readersOf(input).delete(node);
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
    const maker = this.uses.producers.get(to);
    if (maker === undefined || this.isOutput(to)) return false;
    const old = this.uses.producers.get(from);
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
    const { nodes, producers } = this.editing;
    const given = [...this.graph.inputs, ...this.constants.keys()];
    const live = [...nodes].filter((node) => node.outputs.some((output) => producers.get(output) === node));
    return removeDead({ ...this.graph, nodes: sortNodes(live, given), constants: this.constants, types: this.ownTypes ?? this.graph.types });
  }
}
