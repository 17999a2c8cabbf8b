import { RuntimeError } from '../errors.js';
import { sameShape } from '../graph/tensor-value.js';
import type { LayerProfile, Session, SessionStats } from '../session-types.js';
import type { Tensor, TensorInfo } from '../tensor.js';
import { RecentSessions } from './recent-sessions.js';
import { RunQueue } from './run-queue.js';
import type { SpecializedSession } from './specializing.js';

export type Shapes = Readonly<Record<string, readonly number[]>>;

/** What a model leaves open, and how to open it for sizes. */
export interface Reshapable {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Axes by input whose sizes neither the file nor the options state. */
  readonly open: Readonly<Record<string, readonly number[]>>;
  /** @throws RuntimeError E_MODEL_*: the model cannot have these shapes */
  openFor(shapes: Shapes): Promise<SpecializedSession>;
}

/**
 * A model with sizes that neither its file nor the options state, which are 1 until it is fed others: it is compiled again for the shapes that it
 * is fed, when it first meets them, and not again while they are among the last eight.
 */
export class ReshapingSession implements Session {
  private readonly sessions = new RecentSessions<SpecializedSession>();
  private latest: SpecializedSession | undefined;
  private recompilations = 0;
  private readonly queue = new RunQueue();

  /** @param first the session of the sizes that are 1; undefined when the model cannot have these */
  constructor(private readonly model: Reshapable, first: SpecializedSession | undefined) {
    this.latest = first;
    if (first !== undefined) this.sessions.set(this.keyOf(Object.fromEntries(model.inputs.map(({ name, dims }) => [name, dims]))), first);
  }

  get inputs(): readonly TensorInfo[] {
    return this.latest?.inputs ?? this.model.inputs;
  }
  get outputs(): readonly TensorInfo[] {
    return this.latest?.outputs ?? this.model.outputs;
  }
  /** Of the session that ran last. */
  get stats(): SessionStats {
    return { ...(this.latest?.stats ?? { engine: 'native', threads: 1, loadMs: 0 }), recompilations: this.recompilations };
  }

  run(feeds: Readonly<Record<string, Tensor>>, reused?: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    return this.queue.add(async () => this.counted(feeds, (session) => session.run(feeds, reused)));
  }
  profile(feeds: Readonly<Record<string, Tensor>>): Promise<LayerProfile[]> {
    return this.queue.add(async () => this.counted(feeds, (session) => session.profile(feeds)));
  }
  async close(): Promise<void> {
    await this.queue.close();
    await this.sessions.close();
  }

  /** Runs the session for the feeds, which may have to compile for their values. */
  private async counted<T>(feeds: Readonly<Record<string, Tensor>>, run: (session: SpecializedSession) => Promise<T>): Promise<T> {
    const session = await this.sessionFor(feeds);
    const compiled = (): number => session.stats.recompilations ?? 0;
    const before = compiled();
    try {
      return await run(session);
    } finally {
      this.recompilations += compiled() - before;
    }
  }

  private keyOf(shapes: Shapes): string {
    return Object.keys(this.model.open).map((name) => shapes[name]?.join()).join(';');
  }

  /** The shapes that the feeds ask for; sizes that the model states are its own, so that a feed that does not fit is refused by its session. */
  private shapesOf(feeds: Readonly<Record<string, Tensor>>): Record<string, readonly number[]> {
    return Object.fromEntries(Object.entries(this.model.open).map(([name, axes]) => {
      const dims = this.model.inputs.find((input) => input.name === name)?.dims ?? [];
      const fed = feeds[name]?.dims ?? dims;
      return [name, fed.length === dims.length ? dims.map((size, axis) => (axes.includes(axis) ? (fed[axis] ?? size) : size)) : dims];
    }));
  }

  private async sessionFor(feeds: Readonly<Record<string, Tensor>>): Promise<SpecializedSession> {
    const current = this.latest;
    if (current?.inputs.every(({ name, dims }) => sameShape(dims, feeds[name]?.dims ?? dims)) === true) return current;
    const shapes = this.shapesOf(feeds);
    const key = this.keyOf(shapes);
    let session = this.sessions.get(key);
    if (session === undefined) {
      session = await this.openFor(shapes);
      if (session.compilesWhenRun !== true) this.recompilations += 1;
    }
    await this.sessions.use(key, session);
    this.latest = session;
    return session;
  }

  /** A symbol that is fed with two sizes is a mistake of the feeds. */
  private async openFor(shapes: Shapes): Promise<SpecializedSession> {
    try {
      return await this.model.openFor(shapes);
    } catch (error) {
      if (error instanceof RuntimeError && error.code === 'E_OPTION') throw new RuntimeError('E_INPUT', error.message, { cause: error, details: error.details });
      throw error;
    }
  }
}
