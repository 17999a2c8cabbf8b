import { RuntimeError } from '../errors.js';
import { Expander } from '../expand/expander.js';
import { removeDead, type Graph, type Node } from '../graph/graph.js';
import { absent } from '../graph/operands.js';
import { elementCount, isUnsignedWide, type TensorValue } from '../graph/tensor-value.js';
import { checkDeclared } from '../infer/infer.js';
import { maximumRank } from './program-format.js';
import { supportedOperators } from './supported.js';

// A model that cannot be one program: shapes that follow from data (NonZero, the boxes that a suppression leaves), loops whose course is computed,
// operators without a kernel. What can be planned is compiled; the other nodes are computed by the reference implementations in each run.

/** A stretch of the model that is one program. */
export interface CompiledPart {
  readonly kind: 'compiled';
  readonly graph: Graph;
}

/** Nodes that are computed one after the other while the model runs. */
export interface InterpretedPart {
  readonly kind: 'interpreted';
  readonly nodes: readonly Node[];
}

export type ModelPart = CompiledPart | InterpretedPart;

/** The type of what no node makes: constants and absent operands. */
const nothing = { dtype: 'float32', shape: [] } as const;

interface Step {
  readonly node: Node;
  readonly interpreted: boolean;
}

/** RoiAlign: in the form that no other operators stand for. */
const interpretedOperators = new Set([...supportedOperators().interpreted, 'RoiAlign']);

/** Whether what a node lacks may be known once the model runs. */
const mayWait = (error: unknown): boolean => error instanceof RuntimeError && error.code === 'E_MODEL_OP' && typeof error.details['operand'] === 'string';

/** Follows the shapes as far as they are known before a run. */
class Partition {
  private readonly expander: Expander;
  private readonly steps: Step[] = [];
  /** Whether an output may be a sequence or an optional: the file states no type of a tensor. */
  private readonly givesContainers: boolean;
  /** Makers of sequences and optionals that compiling knows of, and no node has read in a run yet. */
  private readonly makers = new Map<string, Node>();
  /** Values whose shapes are known only in a run. */
  private readonly open: Set<string>;

  constructor(private readonly graph: Graph, private readonly apart: ReadonlySet<string>) {
    this.expander = new Expander(graph);
    this.open = new Set(graph.containers?.keys() ?? []);
    this.givesContainers = graph.outputs.some((name) => graph.declared?.has(name) !== true);
    for (const node of graph.nodes) this.add(node);
  }

  /** Programs have no tensors without elements, none of many axes, and none of wide unsigned numbers. */
  private isForeign(name: string): boolean {
    const { shape, dtype } = this.expander.types.get(name) ?? nothing;
    return elementCount(shape) === 0 || shape.length > maximumRank || isUnsignedWide(this.expander.known(name)?.dtype ?? dtype);
  }

  private isInterpreted(node: Node): boolean {
    return this.apart.has(node.name) || interpretedOperators.has(node.op) || [...node.inputs, ...node.outputs].some((name) => this.isForeign(name));
  }

  private add(node: Node): void {
    const before = this.expander.nodes.length;
    if (node.inputs.some((name) => this.open.has(name)) || !this.isTyped(node)) {
      this.interpret(node);
      for (const name of node.outputs) this.open.add(name);
      return;
    }
    for (const each of this.expander.nodes.slice(before)) this.steps.push({ node: each, interpreted: this.isInterpreted(each) });
    // What compiling knows as a list of values has to be put together in a run, too, where it may leave the model.
    if (!node.outputs.some((name) => this.isContainer(name))) return;
    if (this.givesContainers) this.steps.push({ node, interpreted: true });
    else for (const name of node.outputs) this.makers.set(name, node);
  }

  /** Lists that compiling knows of, and this node reads, are put together in the run, too. */
  private interpret(node: Node): void {
    for (const name of node.inputs) {
      const maker = this.makers.get(name);
      if (maker === undefined) continue;
      for (const output of maker.outputs) this.makers.delete(output);
      this.interpret(maker);
    }
    this.steps.push({ node, interpreted: true });
  }

  private isContainer(name: string): boolean {
    return this.expander.sequence(name) !== undefined || this.expander.isEmpty(name);
  }

  private isTyped(node: Node): boolean {
    try {
      this.expander.add(node);
      checkDeclared(this.graph, node, this.expander.types);
      return true;
    } catch (error) {
      if (mayWait(error)) return false;
      throw error;
    }
  }

  /** Constants, those included that follow from constants and shapes. */
  private constants(): Map<string, TensorValue> {
    const constants = new Map(this.expander.constants);
    for (const { node } of this.steps) {
      for (const name of node.outputs) {
        const value = this.expander.value(name);
        if (value !== undefined) constants.set(name, value);
      }
    }
    return constants;
  }

  parts(): { parts: ModelPart[]; constants: ReadonlyMap<string, TensorValue> } {
    const constants = this.constants();
    const steps = this.steps.filter(({ node }) => !node.outputs.every((name) => name === absent || constants.has(name)));
    const stages: { compiled: Node[]; interpreted: Node[] }[] = [];
    const ready = new Map<string, { stage: number; interpreted: boolean }>();
    for (const { node, interpreted } of steps) {
      const stage = node.inputs.reduce((latest, name) => {
        const made = ready.get(name);
        return made === undefined ? latest : Math.max(latest, made.interpreted && !interpreted ? made.stage + 1 : made.stage);
      }, 0);
      (stages[stage] ??= { compiled: [], interpreted: [] })[interpreted ? 'interpreted' : 'compiled'].push(node);
      for (const name of node.outputs) ready.set(name, { stage, interpreted });
    }
    const parts = stages.flatMap(({ compiled, interpreted }): ModelPart[] => [
      ...(compiled.length === 0 ? [] : [{ kind: 'compiled', graph: this.graphOf(compiled, steps, constants) } as const]),
      ...(interpreted.length === 0 ? [] : [{ kind: 'interpreted', nodes: interpreted } as const]),
    ]);
    return { parts, constants };
  }

  /** The nodes of one program as a graph, between the values that it takes from the others and those that it gives them. */
  private graphOf(nodes: readonly Node[], steps: readonly Step[], constants: ReadonlyMap<string, TensorValue>): Graph {
    const own = new Set(nodes);
    const made = new Set(nodes.flatMap((node) => node.outputs));
    const wanted = new Set([...this.graph.outputs, ...steps.flatMap(({ node }) => (own.has(node) ? [] : node.inputs))]);
    const read = new Set(nodes.flatMap((node) => node.inputs));
    const { declared: _, ...graph } = this.graph;
    return removeDead({
      ...graph, nodes, constants, types: this.expander.types,
      inputs: [...read].filter((name) => name !== absent && !made.has(name) && !constants.has(name)),
      outputs: [...made].filter((name) => name !== absent && wanted.has(name)),
    });
  }
}

/**
 * Cuts a model into programs and the nodes between them that no program can have.
 * @param apart names of further nodes that are to be interpreted
 * @throws RuntimeError E_MODEL_*: what is wrong with the model, in whatever parts it runs
 */
export function partsOf(graph: Graph, apart: ReadonlySet<string> = new Set()): { parts: readonly ModelPart[]; constants: ReadonlyMap<string, TensorValue> } {
  return new Partition(graph, apart).parts();
}
