import { describeCpu, loadProgram, type CellMask, type Isa, type LoadOptions, type NativeProgram, type OpProfile } from '../../kernels/binding/index.js';
import { isaActivations } from '../../kernels/binding/tables.js';
import { loadThroughCache } from '../cache/load-program.js';
import { RuntimeError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { TensorValue } from '../graph/tensor-value.js';
import { pause } from '../graph/pause.js';
import { compileApart } from '../lower/compile-apart.js';
import type { CompiledProgram, CompileOptions, ProgramPort, ProgramSplit } from '../lower/compile.js';
import { flipBytes } from '../lower/flip-bytes.js';
import { withRegions } from '../incremental/load.js';
import { nameOp } from '../lower/name-op.js';
import { orderFeeds, pixelLayout } from './feeds.js';
import { multiplies, SessionInParts, type RunningPart } from './in-parts.js';
import { NativeKeptMaps, type ProgramPart } from './kept-maps.js';
import { stated } from '../options.js';
import { asBytes, outputSlot, takeReused, type ReusedOutputs } from './outputs.js';
import { isRefusal } from './refusal.js';
import { ReshapingSession, type Shapes } from './reshaping.js';
import { decidedByWholeNumbers, portsOf, SpecializingSession } from './specializing.js';
import type { LayerProfile, Session, SessionOptions, SessionStats, SplitRun } from '../session-types.js';
import type { Tensor, TensorData, TensorInfo } from '../tensor.js';

/** What the program is given for a feed: int64 as int32, bytes in the program's own sign. */
function toProgram(port: ProgramPort | undefined, data: TensorData): ArrayBufferView {
  if (port?.flip === true) return flipBytes(asBytes(data));
  if (port?.type === 'bool' && asBytes(data).some((byte) => byte > 1)) throw new RuntimeError('E_INPUT', `Input '${port.name}': expected booleans of 0 and 1`, { details: { input: port.name } });
  if (!(data instanceof BigInt64Array)) return data;
  return Int32Array.from(data, (value) => {
    const narrow = Number(BigInt.asIntN(32, value));
    if (BigInt(narrow) !== value) throw new RuntimeError('E_INPUT', `Input '${port?.name}': expected indices of 32 bits but received ${value}`, { details: { input: port?.name } });
    return narrow;
  });
}

/** What a session needs to know of a program besides its bytes. */
type Description = Pick<CompiledProgram, 'inputs' | 'outputs' | 'split' | 'opNames' | 'regions' | 'open'>;

class NativeSession implements Session {
  readonly stats: SessionStats;
  readonly kept?: NativeKeptMaps;
  readonly split: SplitRun | undefined;
  /** Whether the program's memory is as `split.prefix` left it. */
  private stopped = false;

  constructor(private readonly program: Description, private readonly native: NativeProgram, opening: Pick<SessionStats, 'loadMs' | 'cached'>) {
    this.stats = { engine: 'native', isa: native.isa, threads: native.threads, ...opening, recompilations: 0, arenaBytes: native.arenaBytes, packedBytes: native.packedBytes };
    if (program.regions !== undefined) this.kept = new NativeKeptMaps(native, program.outputs, () => this.stopped);
    this.split = program.split === undefined ? undefined : this.inParts(program.split);
  }
  /** Whether sizes of inputs were taken as 1 because nothing states them. */
  get open(): boolean {
    return this.program.open === true;
  }
  get inputs() {
    return this.program.inputs.map(({ name, type, dims }) => ({ name, type, dims }));
  }
  get outputs() {
    return this.program.outputs.map(({ name, type, dims }) => ({ name, type, dims }));
  }

  /** What the program is given for the feeds. */
  private views(feeds: readonly Tensor[]): ArrayBufferView[] {
    return feeds.map((feed, i) => toProgram(this.program.inputs[i], feed.data));
  }

  async run(feeds: Readonly<Record<string, Tensor>>, reused: ReusedOutputs = {}, active?: CellMask): Promise<Record<string, Tensor>> {
    const ordered = orderFeeds(this.program.inputs, feeds);
    return this.writing(ordered, reused, (views) => this.runWhole(this.views(ordered), views, { active, reused }));
  }

  private async runWhole(given: ArrayBufferView[], views: ArrayBufferView[], { active, reused }: { active: CellMask | undefined; reused: ReusedOutputs }): Promise<void> {
    const { kept, native, program } = this;
    const cells = kept?.take('whole', active, reused);
    this.stopped = false;
    if (program.split !== undefined) return this.followed('whole', () => native.runPart(0, program.opNames.length, given, [...views, null], cells));
    return kept === undefined ? native.run(given, views) : this.followed('whole', () => native.run(given, views, cells));
  }

  /** A run that kept maps are told of, where there are any. */
  private async followed(part: ProgramPart, run: () => Promise<number>): Promise<void> {
    if (this.kept === undefined) await run();
    else await this.kept.follow(part, run);
  }

  /** The outputs, once `run` has written them. */
  private async writing(feeds: readonly Tensor[], reused: ReusedOutputs, run: (views: ArrayBufferView[]) => Promise<void>): Promise<Record<string, Tensor>> {
    const giveBack = takeReused(this.program.outputs, reused, feeds);
    try {
      const slots = this.program.outputs.map((port) => outputSlot(port, reused[port.name]));
      await run(slots.map(({ view }) => view));
      const tensors = slots.map((slot) => slot.finish());
      this.kept?.wrote(tensors);
      return Object.fromEntries(tensors.map((tensor, i) => [this.program.outputs[i]?.name ?? '', tensor]));
    } finally {
      giveBack();
    }
  }

  private inParts({ name, ops, features: port, zeroPoint }: ProgramSplit): SplitRun {
    const { opNames, outputs } = this.program;
    const tensor = outputSlot(port, undefined).finish();
    const unwanted = outputs.map(() => null);
    return {
      name, zeroPoint, features: { name: port.name, type: port.type, dims: port.dims },
      prefix: async (feeds, active) => {
        const views = this.views(orderFeeds(this.program.inputs, feeds));
        const cells = this.kept?.take('prefix', active, {});
        this.stopped = true;
        const slot = outputSlot(port, tensor);
        await this.followed('prefix', () => this.native.runPart(0, ops, views, [...unwanted, slot.view], cells)).catch((error: unknown) => {
          this.stopped = false;
          throw error;
        });
        return slot.finish();
      },
      suffix: async (reused = {}) => {
        if (!this.stopped) throw new RuntimeError('E_INPUT', `Expected a run that was stopped after ${name} but the last one was not: call split.prefix first`);
        return this.writing([], reused, async (views) => {
          const cells = this.kept?.take('suffix', undefined, reused);
          this.stopped = false;
          await this.followed('suffix', () => this.native.runPart(ops, opNames.length, null, [...views, null], cells));
        });
      },
    };
  }

  async profile(feeds: Readonly<Record<string, Tensor>>, active?: CellMask): Promise<LayerProfile[]> {
    const { outputs: ports, split } = this.program;
    const outputs = [...ports, ...(split === undefined ? [] : [split.features])].map((port) => outputSlot(port, undefined).view);
    const views = this.views(orderFeeds(this.program.inputs, feeds));
    const cells = this.kept?.take('whole', active, {});
    this.stopped = false;
    let ops: OpProfile[] = [];
    await this.followed('whole', async () => {
      ops = await this.native.profile(views, outputs, cells);
      return this.kept?.share ?? 1;
    });
    return ops.map(({ op, kernel, ms }) => {
      const { name = '', op: operator = '', macs = 0, format = 'none', bytesRead = 0, bytesWritten = 0 } = this.program.opNames[op] ?? {};
      return { name, op: operator, kernel, ms, macs, format, bytesRead, bytesWritten };
    });
  }

  async close(): Promise<void> {
    await this.native.close();
  }
}

/** The type of 8-bit activations for a kernel variant. `ref` has kernels for both, and takes what the CPU's best variant takes. */
export function activationFor(isa: Isa | undefined): 'uint8' | 'int8' {
  const cpu = describeCpu();
  if (isa === undefined || isa === cpu.selected || isa === 'ref') return cpu.activation;
  return isa in isaActivations ? isaActivations[isa] : cpu.activation; // an unknown name is refused when the program is loaded
}

/** Compiles one program, or takes it from the cache, and loads it. `fixed`: inputs that become constants of it; no cache keeps these. */
async function openProgram(source: Uint8Array | Graph, options: SessionOptions, fixed: Readonly<Record<string, TensorValue>> = {}): Promise<NativeSession> {
  const start = performance.now();
  const { isa, pixels, symbols, shapes, strips, incremental, split, threads, affinity, memoryLimitBytes, maxBlockingMs, background, limits, cache, modelSha256 } = options;
  const compileOptions: CompileOptions = { activation: activationFor(isa), ...stated({ pixels, symbols, shapes, strips, incremental, split, limits }) };
  const load: LoadOptions = stated({ isa, threads, affinity, memoryLimitBytes, maxBlockingMs, background });
  if (cache !== undefined && source instanceof Uint8Array && Object.keys(fixed).length === 0) {
    const { description, native, cached } = await loadThroughCache({ model: source, sha256: modelSha256, compile: compileOptions, load, cache });
    return new NativeSession(description, native, { loadMs: performance.now() - start, cached });
  }
  const program = await compileApart(source, { ...compileOptions, fixed });
  pause(); // What compiling needed is garbage by now.
  const native = nameOp(program, () => loadProgram(program.bytes, withRegions(load, program)));
  // The session must not keep the program's bytes in memory.
  const { bytes: _, ...description } = program;
  return new NativeSession(description, native, { loadMs: performance.now() - start });
}

/** The program of a graph. */
async function openGraph(graph: Graph, options: SessionOptions): Promise<NativeSession> {
  const { cache: _cache, modelSha256: _hash, ...rest } = options;
  return openProgram(graph, rest);
}

/**
 * Opens a model that no single program can run. It is compiled for the values of whole numbers that it is fed when these decide the sizes of
 * layers with weights; otherwise it runs in parts.
 * @param error why it was refused as one program, which is thrown when there is no other way
 */
async function openApart(bytes: Uint8Array, options: SessionOptions, error: unknown): Promise<SessionInParts | SpecializingSession> {
  const start = performance.now();
  const { openInParts } = await import('./open-parts.js');
  const { graph, inputs, outputs } = portsOf(bytes, options);
  const whole = options.pixels === undefined && decidedByWholeNumbers(graph, error);
  const { pixels = {} } = options;
  const made = await openInParts(graph, {
    open: (part) => openGraph(part, { ...options, pixels: Object.fromEntries(Object.entries(pixels).filter(([name]) => part.inputs.includes(name))) }),
    close: (session) => session.close(),
  }, error, (parts, constants) => !(whole && multiplies(parts, constants)));
  if (made === undefined) return new SpecializingSession(bytes, options, (fixed) => openProgram(bytes, options, fixed));
  const parts = made.parts.map((part): RunningPart => (part.kind === 'compiled' ? { kind: 'compiled', graph: part.graph, session: part.opened } : part));
  const opening = { threads: options.threads ?? 1, loadMs: performance.now() - start };
  return new SessionInParts({ graph, inputs: inputs.map((info) => pixelInfo(info, options)), outputs, constants: made.constants, parts }, opening);
}

/** An input as it is fed: as pixels where the options say so. */
function pixelInfo(info: TensorInfo, { pixels = {} }: SessionOptions): TensorInfo {
  const given = pixels[info.name];
  if (given === undefined) return info;
  const { height, width, channels } = pixelLayout(info, given);
  return { name: info.name, type: 'uint8', dims: [1, height, width, channels] };
}

/**
 * Compiles a model for this CPU and loads it into the native engine. A model that cannot be one program, because sizes follow from data, runs
 * in parts (`in-parts.ts`); one in which whole numbers that are fed decide the sizes of layers with weights is compiled when it is run, once
 * for each of their values (`specializing.ts`).
 * @throws RuntimeError E_MODEL_*, E_INPUT; KernelError E_NATIVE_MISSING, E_ISA, E_OUT_OF_MEMORY, E_PROGRAM_LIMIT
 */
export async function openNative(bytes: Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const { split, incremental = false, pixels } = options;
  const plain = split === undefined && incremental === false;
  let session: OpenedSession | undefined;
  try {
    session = await openOnce(bytes, options, plain);
    if (!plain || pixels !== undefined || (session instanceof NativeSession && !session.open)) return session;
  } catch (error) {
    if (!plain || pixels !== undefined || !isRefusal(error) || error.code !== 'E_MODEL_SHAPE') throw error;
    return reshaping(bytes, options, undefined, error);
  }
  return reshaping(bytes, options, session, undefined);
}

type OpenedSession = NativeSession | SessionInParts | SpecializingSession;

/** @param parts whether a model that cannot be one program may run in parts */
async function openOnce(bytes: Uint8Array, options: SessionOptions, parts: boolean): Promise<OpenedSession> {
  try {
    return await openProgram(bytes, options);
  } catch (error) {
    if (!parts || !isRefusal(error)) throw error;
    return openApart(bytes, options, error);
  }
}

/** A session for any sizes where the file leaves them open; the session itself, or the refusal, where it leaves none. */
function reshaping(bytes: Uint8Array, options: SessionOptions, first: OpenedSession | undefined, refusal: unknown): Session {
  const { inputs, outputs, open } = portsOf(bytes, options, first?.outputs);
  if (Object.keys(open).length === 0) {
    if (first !== undefined) return first;
    throw refusal;
  }
  const openFor = (shapes: Shapes): Promise<OpenedSession> => openOnce(bytes, { ...options, shapes: { ...options.shapes, ...shapes } }, true);
  return new ReshapingSession({ inputs, outputs, open, openFor }, first);
}
