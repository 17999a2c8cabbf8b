import type { FrontEnd } from '../../kernels/binding/audio.js';
import { RuntimeError } from '../errors.js';
import { elementCount } from '../graph/tensor-value.js';
import { createSession } from '../session.js';
import type { Session, SessionOptions } from '../session-types.js';
import { createFrontEnd } from '../sound/front-end.js';
import type { Tensor, TensorData } from '../tensor.js';
import { soundSpan, soundValues } from './contract.js';
import type { SoundContract, StageContract } from './contract.js';
import type { EngineOptions } from './model-stage.js';
import { memoryOfSession, missingOutputs } from './stage.js';
import type { Stage } from './stage.js';
import { noise } from '../noise.js';

/** Where the newest sound is kept in the form in which a model takes it. */
interface Listening {
  push(samples: Float32Array): void;
  /** What the model is fed with; a view, valid until the next `push`. */
  input(): TensorData;
  /** Silence, as after a long time without sound. */
  reset(): void;
  readonly notFinite: number;
  /** Rows of features that the newest `push` completed; null when the model makes its own. */
  readonly fresh: Float32Array | Int8Array | Uint8Array | null;
}

/** A model that listens: the newest sound as its contract wants it, and the states that it carries from run to run. */
export class SoundStage implements Stage {
  readonly session: Session;
  readonly contract: SoundContract;
  onRun: Stage['onRun'];
  readonly #listening: Listening;
  readonly #states: readonly { output: string; feed: Tensor }[];
  readonly #feeds: Record<string, Tensor>;
  readonly #main: Tensor;
  #loaded: TensorData | undefined;
  #outputs: Record<string, Tensor> | undefined;

  constructor(session: Session, { input, states = [] }: Pick<StageContract, 'states'> & { input: SoundContract }) {
    this.session = session;
    this.contract = input;
    this.#listening = input.type === 'wave' ? new WaveWindow(input.samples, input.gain) : new FeatureWindow(input);
    const info = session.inputs.find(({ name }) => name === input.tensor);
    this.#main = { type: typeOf(input), dims: info?.dims ?? [1, soundValues(input)], data: new Float32Array(0) };
    this.#states = states.map((state) => ({ output: state.output, feed: { type: 'float32', dims: state.dims, data: new Float32Array(elementCount(state.dims)) } }));
    this.#feeds = {
      ...Object.fromEntries(states.map((state, i) => [state.input, this.#states[i]?.feed ?? this.#main])), [input.tensor]: this.#main,
    };
  }

  /** Takes samples at the contract's rate. */
  push(samples: Float32Array): void {
    this.#listening.push(samples);
  }

  /** As if there had been silence: after samples were lost. */
  reset(): void {
    this.#listening.reset();
    for (const { feed } of this.#states) feed.data.fill(0 as never);
  }

  /** Samples that were NaN or infinite so far; each counted as 0. */
  get notFinite(): number {
    return this.#listening.notFinite;
  }

  /** Rows of features that the newest `push` completed; null when the model makes its own. */
  get freshFeatures(): Float32Array | Int8Array | Uint8Array | null {
    return this.#listening.fresh;
  }

  load(bytes: Uint8Array, what: string): void {
    const { type } = this.#main;
    const expected = soundValues(this.contract) * (type === 'float32' ? 4 : 1);
    if (bytes.length !== expected) throw new RuntimeError('E_PACKAGE', `Expected ${expected} bytes of sound in ${what} but it has ${bytes.length}`);
    // Not `slice`, which of a Buffer is a view of its pool.
    const copy = new Uint8Array(bytes);
    this.#loaded = type === 'float32' ? new Float32Array(copy.buffer) : type === 'int8' ? new Int8Array(copy.buffer) : copy;
  }

  /** Puts a generated sound into the next run: a golden vector of nobody's voice. */
  loadPattern(): void {
    const window = this.contract.type === 'wave' ? new WaveWindow(this.contract.samples, this.contract.gain) : new FeatureWindow(this.contract);
    window.push(soundPattern(soundSpan(this.contract)));
    this.#loaded = window.input().slice();
  }

  async run(): Promise<Record<string, Tensor>> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    // What was loaded is a test: it begins without a state, and leaves none behind.
    const kept = loaded === undefined ? [] : this.#states.map(({ feed }) => feed.data.slice());
    if (loaded !== undefined) for (const { feed } of this.#states) feed.data.fill(0 as never);
    this.#main.data = loaded ?? this.#listening.input();
    const reused = this.#outputs;
    this.#outputs = undefined;
    const outputs = await this.session.run(this.#feeds, reused);
    this.#outputs = outputs;
    this.#states.forEach(({ output, feed }, i) => feed.data.set((loaded === undefined ? outputs[output]?.data ?? feed.data : kept[i] ?? feed.data) as never));
    const { data } = this.#main;
    this.onRun?.(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), outputs);
    return outputs;
  }

  get memoryBytes(): number {
    return memoryOfSession(this.session);
  }
}

/**
 * Opens a model that is fed with sound as its contract says.
 * @throws RuntimeError E_MODEL_* when it cannot run, E_MODEL_SHAPE when its inputs or outputs are not the contract's
 */
export async function openSoundStage(name: string, model: Uint8Array, contract: StageContract, options: EngineOptions & Pick<SessionOptions, 'modelSha256'> = {}): Promise<SoundStage> {
  const { input, states = [], constants = [] } = contract;
  if (input.type === 'pixels') throw new RuntimeError('E_PACKAGE', `Expected an input of sound for the stage ${name} but received one of pixels`);
  const fixed = states.map(({ input: tensor, dims }) => [tensor, dims] as const);
  // A model of features states its shape; the open sizes of a model of samples follow from the contract.
  const shapes = Object.fromEntries([...fixed, ...(input.type === 'wave' ? [[input.tensor, [1, input.samples]] as const] : [])]);
  // A cache must not take the model with other constants for this one.
  const { modelSha256, ...engine } = options;
  const known = constants.length > 0 || modelSha256 === undefined ? {} : { modelSha256 };
  // What reads and writes models is loaded when it is needed: most packages have no constants.
  const baked = constants.length === 0 ? model : (await import('./bake-constants.js')).bakeConstants(model, constants);
  const session = await createSession(baked, { ...engine, ...known, shapes, floats: 'float32' });
  const problem = mismatch(session, contract, input) ?? missingOutputs(session, contract);
  if (problem === null) return new SoundStage(session, { ...contract, input });
  await session.close();
  throw new RuntimeError('E_MODEL_SHAPE', `The model of stage ${name} does not fit its contract: ${problem}`);
}

/** What of the model's inputs is not as the contract says; null when they fit. */
function mismatch({ inputs }: Session, { states = [] }: StageContract, input: SoundContract): string | null {
  const received = inputs.map(({ name, type, dims }) => `${name} ${type} [${dims.join(', ')}]`).join(', ');
  const main = inputs.find(({ name }) => name === input.tensor);
  const values = soundValues(input);
  if (main?.type !== typeOf(input) || elementCount(main.dims) !== values) {
    return `expected an input ${input.tensor} of ${values} ${typeOf(input)} values but it has ${received}`;
  }
  const known = new Set([input.tensor, ...states.map((state) => state.input)]);
  const unknown = inputs.filter(({ name }) => !known.has(name)).map(({ name }) => name);
  return unknown.length === 0 ? null : `its inputs ${unknown.join(', ')} are neither states nor constants of the contract`;
}

function typeOf(input: SoundContract): 'float32' | 'int8' | 'uint8' {
  return input.type === 'features' && input.codes !== undefined ? input.codes.type : 'float32';
}

class WaveWindow implements Listening {
  readonly fresh = null;
  readonly #samples: Float32Array;
  readonly #gain: number;
  notFinite = 0;

  constructor(count: number, gain: number) {
    this.#samples = new Float32Array(count);
    this.#gain = gain;
  }

  push(samples: Float32Array): void {
    const newest = samples.length > this.#samples.length ? samples.subarray(samples.length - this.#samples.length) : samples;
    this.#samples.copyWithin(0, newest.length);
    const start = this.#samples.length - newest.length;
    for (let i = 0; i < newest.length; i++) {
      const value = newest[i] ?? 0;
      const finite = Number.isFinite(value);
      if (!finite) this.notFinite++;
      this.#samples[start + i] = finite ? value * this.#gain : 0;
    }
  }

  input(): Float32Array {
    return this.#samples;
  }

  reset(): void {
    this.#samples.fill(0);
  }
}

class FeatureWindow implements Listening {
  readonly #frontEnd: FrontEnd;
  readonly #turned: Float32Array | Int8Array | Uint8Array | null;
  readonly #silence: Float32Array;
  #fresh = 0;

  constructor(contract: Extract<SoundContract, { type: 'features' }>) {
    this.#frontEnd = createFrontEnd(contract.definition, contract.frames, { codes: contract.codes });
    this.#turned = contract.layout === 'time-bands' ? null : this.#frontEnd.window.slice();
    this.#silence = new Float32Array(soundSpan(contract));
    this.reset();
  }

  push(samples: Float32Array): void {
    this.#fresh = Math.min(this.#frontEnd.rows, this.#frontEnd.push(samples));
  }

  input(): Float32Array | Int8Array | Uint8Array {
    const { window, rows, features } = this.#frontEnd;
    if (this.#turned === null) return window;
    for (let t = 0; t < rows; t++) {
      for (let f = 0; f < features; f++) this.#turned[f * rows + t] = window[t * features + f] ?? 0;
    }
    return this.#turned;
  }

  reset(): void {
    this.#frontEnd.reset();
    this.#frontEnd.push(this.#silence);
  }

  get notFinite(): number {
    return this.#frontEnd.notFinite;
  }

  get fresh(): Float32Array | Int8Array | Uint8Array {
    const { window, rows, features } = this.#frontEnd;
    return window.subarray((rows - this.#fresh) * features);
  }
}

/** Triangle waves of two changing heights with grain: the same on every machine, where sines may differ in the last bit. */
export function soundPattern(length: number): Float32Array {
  const grain = noise();
  let [low, high] = [0, 0];
  return Float32Array.from({ length }, (_, i) => {
    low = (low + 0.02 + 0.1 * (i / length)) % 1;
    high = (high + 0.25 - 0.15 * (i / length)) % 1;
    const wave = (phase: number): number => (phase < 0.5 ? 4 * phase - 1 : 3 - 4 * phase);
    return 0.3 * wave(low) + 0.15 * wave(high) + 0.05 * (grain() / 2 ** 32 - 0.5);
  });
}
