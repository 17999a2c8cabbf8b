import { createHash } from 'node:crypto';
import { RuntimeError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { graphFromOnnx } from '../graph/import.js';
import { elementCount, type TensorValue } from '../graph/tensor-value.js';
import { openAxes } from '../graph/open-dimensions.js';
import { parseModel } from '../onnx/parse.js';
import type { OnnxModel, OnnxValueInfo } from '../onnx/types.js';
import type { LayerProfile, Session, SessionOptions, SessionStats } from '../session-types.js';
import { asValue, dataTypes, type Tensor, type TensorInfo } from '../tensor.js';
import { kindOf } from './containers.js';
import { orderFeeds } from './feeds.js';
import { RecentSessions } from './recent-sessions.js';
import { RunQueue } from './run-queue.js';

/** Elements of an input that may be compiled into a program: enough for shapes, bounds and small weights. */
const maximumElements = 1 << 16;

/** Inputs of the model whose values must be known before it can be compiled, when that is why it was refused. */
export function decidingInputs(error: unknown): readonly string[] | undefined {
  const inputs = error instanceof RuntimeError && error.code === 'E_MODEL_OP' ? error.details['inputs'] : undefined;
  return Array.isArray(inputs) ? inputs.filter((name): name is string => typeof name === 'string') : undefined;
}

/** Whether a model was refused because of whole numbers or booleans that it is fed, and nothing else. */
export function decidedByWholeNumbers(graph: Graph, error: unknown): boolean {
  const deciding = decidingInputs(error) ?? [];
  return deciding.length > 0 && deciding.every((name) => graph.types.get(name)?.dtype !== 'float32');
}

export interface SpecializedSession extends Session {
  /** Whether nothing is compiled before it is run. */
  readonly compilesWhenRun?: boolean;
  profile(feeds: Readonly<Record<string, Tensor>>): Promise<LayerProfile[]>;
}

/** Compiles the model with these inputs as constants. */
export type Specialize = (fixed: Readonly<Record<string, TensorValue>>) => Promise<SpecializedSession>;

export interface Ports {
  readonly graph: Graph;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Axes by input with sizes that neither the file nor the options state. */
  readonly open: Readonly<Record<string, readonly number[]>>;
}

/** The interface of a model as its file states it: sizes of outputs that the file leaves open are -1. @throws RuntimeError E_MODEL_OP */
export function interfaceOf(graph: Graph, model: OnnxModel): Pick<Ports, 'inputs' | 'outputs'> {
  const info = ({ name, dtype, container }: OnnxValueInfo, dims: readonly number[]): TensorInfo => {
    const type = dataTypes.find((candidate) => candidate === dtype);
    if (type === undefined) throw new RuntimeError('E_MODEL_OP', `'${name}': element type ${dtype ?? 'unknown'} cannot cross the interface of a model`, { details: { value: name } });
    return { name, type, dims, ...(container === undefined ? {} : { container: kindOf(container) }) };
  };
  const asStated = (value: OnnxValueInfo): TensorInfo => info(value, (value.dims ?? []).map((dim) => (typeof dim === 'number' ? dim : -1)));
  const inputs = model.graph.inputs.flatMap((value): TensorInfo[] => {
    const type = graph.types.get(value.name);
    if (graph.containers?.has(value.name) === true) return [asStated(value)];
    return type === undefined || !graph.inputs.includes(value.name) ? [] : [info({ name: value.name, dtype: type.dtype }, type.shape)];
  });
  return { inputs, outputs: model.graph.outputs.map(asStated) };
}

/**
 * The interface of a model, and what its file leaves open.
 * @param outputs where they are known; the file need not state their types then
 * @throws RuntimeError E_MODEL_*
 */
export function portsOf(bytes: Uint8Array, { symbols = {}, shapes = {}, limits = {} }: SessionOptions, outputs?: readonly TensorInfo[]): Ports {
  const model = parseModel(bytes, limits);
  const graph = graphFromOnnx(model, { symbols, shapes, limits });
  const open = openAxes(model.graph.inputs, { symbols, shapes });
  if (outputs === undefined) return { graph, open, ...interfaceOf(graph, model) };
  return { graph, open, outputs, inputs: interfaceOf(graph, { ...model, graph: { ...model.graph, outputs: [] } }).inputs };
}

function keyOf(fixed: readonly (readonly [string, Tensor])[]): string {
  const hash = createHash('sha256');
  for (const [name, { dims, data }] of fixed) hash.update(`${name}\0${dims.join()}\0${data.byteLength}\0`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest('base64');
}

/**
 * A model with inputs that decide shapes (the operand of a Reshape, the limit of a Range) or that an operator must know beforehand.
 * Memory is planned when a program is compiled, so the model is compiled for the values of these inputs: when it first meets them, and
 * not again while they are among the last eight. `outputs` have -1 for sizes that are not known until then.
 */
export class SpecializingSession implements Session {
  readonly compilesWhenRun = true;
  readonly inputs: readonly TensorInfo[];
  private readonly declared: readonly TensorInfo[];
  private readonly open: Ports['open'];
  private readonly fixed = new Set<string>();
  private readonly programs = new RecentSessions<SpecializedSession>();
  private latest: SpecializedSession | undefined;
  private recompilations = 0;
  private readonly queue = new RunQueue();

  constructor(bytes: Uint8Array, private readonly options: SessionOptions, private readonly specialize: Specialize) {
    const { inputs, outputs, open } = portsOf(bytes, options);
    this.inputs = inputs;
    this.open = open;
    this.declared = outputs;
  }

  get outputs(): readonly TensorInfo[] {
    return this.latest?.outputs ?? this.declared;
  }

  /** Of the program that ran last. */
  get stats(): SessionStats {
    const { stats } = this.latest ?? { stats: { engine: 'native' as const, threads: this.options.threads ?? 1, loadMs: 0 } };
    return { ...stats, recompilations: this.recompilations };
  }

  run(feeds: Readonly<Record<string, Tensor>>, reused?: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    return this.queue.add(async () => {
      const session = await this.programFor(feeds);
      return session.run(this.rest(feeds), reused);
    });
  }

  profile(feeds: Readonly<Record<string, Tensor>>): Promise<LayerProfile[]> {
    return this.queue.add(async () => {
      const session = await this.programFor(feeds);
      return session.profile(this.rest(feeds));
    });
  }

  async close(): Promise<void> {
    await this.queue.close();
    await this.programs.close();
  }

  private rest(feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
    return Object.fromEntries(Object.entries(feeds).filter(([name]) => !this.fixed.has(name)));
  }

  private async programFor(feeds: Readonly<Record<string, Tensor>>): Promise<SpecializedSession> {
    orderFeeds(this.inputs.map((info) => this.sized(info, feeds[info.name])), feeds);
    const fixed = this.inputs.flatMap(({ name }) => (this.fixed.has(name) && feeds[name] !== undefined ? [[name, feeds[name]] as const] : []));
    const key = keyOf(fixed);
    const session = this.programs.get(key) ?? (await this.compiled(fixed));
    if (session === undefined) return this.programFor(feeds); // there is one more input to know
    await this.programs.use(key, session);
    this.latest = session;
    return session;
  }

  /** An input that is compiled in may have any sizes where the file leaves them open: a list of axes may be empty. */
  private sized(info: TensorInfo, feed: Tensor | undefined): TensorInfo {
    return this.open[info.name] !== undefined && feed?.dims.length === info.dims.length ? { ...info, dims: feed.dims } : info;
  }

  /** Undefined: the compiler asked for further inputs, which are fixed from now on. */
  private async compiled(fixed: readonly (readonly [string, Tensor])[]): Promise<SpecializedSession | undefined> {
    // Copies: the caller's arrays may be views of something large.
    const values = fixed.map(([name, { type, dims, data }]): [string, TensorValue] => [name, asValue({ type, dims, data: data.slice() })]);
    try {
      const session = await this.specialize(Object.fromEntries(values));
      this.recompilations += 1;
      return session;
    } catch (error) {
      const wanted = (decidingInputs(error) ?? []).filter((name) => !this.fixed.has(name));
      if (wanted.length === 0 || wanted.some((name) => !this.mayBeFixed(name))) throw error;
      for (const name of wanted) this.fixed.add(name);
      return undefined;
    }
  }

  private mayBeFixed(name: string): boolean {
    return elementCount(this.inputs.find((input) => input.name === name)?.dims ?? [Infinity]) <= maximumElements;
  }
}
