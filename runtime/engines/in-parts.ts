import { setImmediate } from 'node:timers/promises';
import { Expander } from '../expand/expander.js';
import { RuntimeError } from '../errors.js';
import { limitsOf, type Graph, type Node } from '../graph/graph.js';
import { elementCount, type TensorValue } from '../graph/tensor-value.js';
import type { InterpretedPart, ModelPart } from '../lower/parts.js';
import type { OnnxGraph } from '../onnx/types.js';
import type { LayerProfile, Session, SessionStats } from '../session-types.js';
import { asValue, asTensor, type Tensor, type TensorInfo } from '../tensor.js';
import { giveContainers, takeContainer } from './containers.js';
import { orderFeeds } from './feeds.js';
import { checkReusedNames, moveInto } from './outputs.js';
import { RunQueue } from './run-queue.js';
import type { SpecializedSession } from './specializing.js';

/** Nodes are computed within the event loop; it gets its turn between two of them after so many milliseconds. */
const longestTurn = 5;

/** Steps of the reference implementations in one run, as a multiple of those of a pass that folds. The elements that a run makes are those that folding may. */
const runsPerPass = 128;

/** A compiled part with its program. */
export interface LoadedPart {
  readonly kind: 'compiled';
  readonly graph: Graph;
  readonly session: SpecializedSession;
}

export type RunningPart = LoadedPart | InterpretedPart;

export interface PartedModel {
  readonly graph: Graph;
  readonly inputs: readonly TensorInfo[];
  /** -1 for sizes that are known only after a run. */
  readonly outputs: readonly TensorInfo[];
  readonly constants: ReadonlyMap<string, TensorValue>;
  readonly parts: readonly RunningPart[];
}

/** Constants that interpreted nodes read, what their graphs capture included. */
function constantsOf(parts: readonly ModelPart[], constants: ReadonlyMap<string, TensorValue>): Map<string, TensorValue> {
  const read = parts.flatMap((part) => (part.kind === 'interpreted' ? part.nodes.flatMap((node) => node.inputs) : []));
  return new Map(read.flatMap((name) => {
    const value = constants.get(name);
    return value === undefined ? [] : [[name, value] as const];
  }));
}

/**
 * A model of several programs, between which nodes are computed by the reference implementations: those whose results have a size that follows
 * from data, and what follows from these. Nothing is compiled after it was opened.
 */
export class SessionInParts implements Session {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly stats: SessionStats;
  private readonly constants: Map<string, TensorValue>;
  private readonly queue = new RunQueue();
  /** Of all values that cross from one part to another, or are made between parts. */
  private readonly names: readonly string[];

  constructor(private readonly model: PartedModel, opening: Pick<SessionStats, 'threads' | 'loadMs'>) {
    this.inputs = model.inputs;
    this.outputs = model.outputs;
    this.constants = constantsOf(model.parts, model.constants);
    this.names = [...[...model.inputs, ...model.outputs].map(({ name }) => name), ...model.parts.flatMap((part) => (part.kind === 'interpreted' ? part.nodes.flatMap(({ outputs }) => outputs) : part.graph.outputs))];
    const programs = model.parts.flatMap((part) => (part.kind === 'compiled' ? [part.session.stats] : []));
    const sum = (of: (stats: SessionStats) => number | undefined): number => programs.reduce((total, stats) => total + (of(stats) ?? 0), 0);
    const isa = programs[0]?.isa;
    const interpreted = model.parts.reduce((count, part) => count + (part.kind === 'interpreted' ? part.nodes.length : 0), 0);
    this.stats = {
      engine: 'native', ...(isa === undefined ? {} : { isa }), ...opening, recompilations: 0, interpretedNodes: interpreted,
      arenaBytes: sum((stats) => stats.arenaBytes), packedBytes: sum((stats) => stats.packedBytes),
    };
  }

  run(feeds: Readonly<Record<string, Tensor>>, reused: Readonly<Record<string, Tensor>> = {}): Promise<Record<string, Tensor>> {
    return this.queue.add(async () => {
      checkReusedNames(this.outputs, reused);
      const values = await this.compute(feeds, (session, given) => session.run(given));
      return Object.fromEntries(this.outputs.flatMap((info): (readonly [string, Tensor])[] => takeContainer(info, values) ?? [[info.name, moveInto(reused[info.name], this.result(info.name, values))]]));
    });
  }

  profile(feeds: Readonly<Record<string, Tensor>>): Promise<LayerProfile[]> {
    return this.queue.add(async () => {
      const layers: LayerProfile[] = [];
      await this.compute(feeds, async (session, given) => {
        layers.push(...await session.profile(given));
        return session.run(given);
      }, (node, ms) => layers.push({ name: node.name, op: node.op, kernel: 'interpreted', ms, macs: 0, format: 'none', bytesRead: 0, bytesWritten: 0 }));
      return layers;
    });
  }

  async close(): Promise<void> {
    await this.queue.close();
    await Promise.all(this.model.parts.map((part) => (part.kind === 'compiled' ? part.session.close() : undefined)));
  }

  private result(name: string, values: Expander): Tensor {
    const value = values.value(name) ?? this.model.constants.get(name);
    if (value === undefined) throw new RuntimeError('E_MODEL_SHAPE', `The value '${name}' was not computed`, { details: { value: name } });
    return asTensor({ ...value, data: value.data.slice() });
  }

  /** Runs the parts in order, on values that every node finds by name. */
  private async compute(
    feeds: Readonly<Record<string, Tensor>>, runProgram: (session: SpecializedSession, feeds: Record<string, Tensor>) => Promise<Record<string, Tensor>>, computed?: (node: Node, ms: number) => void,
  ): Promise<Expander> {
    const { graph, parts } = this.model;
    const limits = { ...limitsOf(graph), foldSteps: runsPerPass * limitsOf(graph).foldSteps };
    const values = new Expander({ ...graph, inputs: [], nodes: [], types: new Map(), constants: this.constants, limits }, { eager: true, reserved: this.names });
    const tensors = this.inputs.filter(({ container }) => container === undefined);
    const ordered = orderFeeds(tensors, giveContainers(this.inputs, feeds, values));
    tensors.forEach(({ name }, i) => { if (ordered[i] !== undefined) values.give(name, asValue(ordered[i])); });
    for (const part of parts) {
      if (part.kind === 'interpreted') await interpretNodes(part.nodes, values, computed);
      else await runPart(part, values, runProgram);
    }
    return values;
  }
}

async function runPart({ graph, session }: LoadedPart, values: Expander, run: (session: SpecializedSession, feeds: Record<string, Tensor>) => Promise<Record<string, Tensor>>): Promise<void> {
  const given = Object.fromEntries(graph.inputs.map((name) => {
    const value = values.value(name);
    if (value === undefined) throw new RuntimeError('E_MODEL_SHAPE', `The value '${name}' was not computed`, { details: { value: name } });
    return [name, asTensor(value)];
  }));
  for (const [name, tensor] of Object.entries(await run(session, given))) values.give(name, asValue(tensor));
}

async function interpretNodes(nodes: readonly Node[], values: Expander, computed: ((node: Node, ms: number) => void) | undefined): Promise<void> {
  let turn = performance.now();
  for (const node of nodes) {
    const start = performance.now();
    values.add(node);
    const now = performance.now();
    computed?.(node, now - start);
    if (now - turn < longestTurn) continue;
    await setImmediate();
    turn = performance.now();
  }
}

/** Elements of weights whose product takes so long in plain code that compiling again is quicker. */
const smallWeights = 4096;

/** Whether a graph of a node multiplies by large weights of its own: exporters write those of a branch within the branch. */
function multipliesWithin(graph: OnnxGraph): boolean {
  const made = graph.nodes.flatMap(({ attributes }) => [...attributes.values()]);
  const values = [...graph.initializers.values(), ...made.flatMap((attribute) => (attribute.type === 'tensor' ? [attribute.value] : []))];
  const large = values.some(({ dims }) => elementCount(dims) > smallWeights);
  return (large && graph.nodes.some(({ op }) => multiplying.has(op))) || made.some((attribute) => attribute.type === 'graph' && multipliesWithin(attribute.value));
}

/** Whether interpreting what these parts do not compile takes longer than compiling all again: it multiplies, and not just a few numbers. */
export function multiplies(parts: readonly ModelPart[], constants: ReadonlyMap<string, TensorValue>): boolean {
  const large = (name: string): boolean => elementCount(constants.get(name)?.dims ?? [0]) > smallWeights;
  const nodes = parts.flatMap((part) => (part.kind === 'interpreted' ? part.nodes : []));
  return nodes.some(({ op, inputs, attributes }) => (multiplying.has(op) && inputs.some(large)) || [...attributes.values()].some((each) => each.type === 'graph' && multipliesWithin(each.value)));
}

const multiplying = new Set([
  'Conv', 'ConvTranspose', 'ConvInteger', 'QLinearConv', 'MatMul', 'MatMulInteger', 'QLinearMatMul', 'Gemm', 'RNN', 'GRU', 'LSTM', 'Attention', 'If', 'Loop', 'Scan',
]);
