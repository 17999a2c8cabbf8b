import { RuntimeError } from '../errors.js';
import { createSession } from '../session.js';
import type { Session, SessionOptions, SplitRun } from '../session-types.js';
import type { Tensor } from '../tensor.js';
import { CellChooser } from '../incremental/chooser.js';
import type { StageIncrement } from '../incremental/settings.js';
import type { Canvas, CellMask } from '../vision/pixels.js';
import { pixelsOf } from './contract.js';
import type { PixelContract, StageContract } from './contract.js';
import { PixelCanvas } from './pixel-canvas.js';
import { memoryOfSession, missingOutputs } from './stage.js';
import type { Stage } from './stage.js';

/** Engine settings that apply to every stage of a pipeline. */
export type EngineOptions = Pick<SessionOptions, 'engine' | 'threads' | 'affinity' | 'isa' | 'cache'>;

/** A model with one picture as its input, and the canvas that the picture is drawn on. */
export class ModelStage implements Stage {
  readonly session: Session;
  readonly contract: PixelContract;
  readonly #picture: PixelCanvas;
  readonly #feeds: Readonly<Record<string, Tensor>>;
  /** Of the run before: the next one writes into them. */
  #outputs: Record<string, Tensor> | undefined;
  readonly #chooser: CellChooser | undefined;
  /** Multiplies the change at which a cell is computed anew. */
  changeFactor = 1;
  /** Sees every run: the pixels as the model got them (its own channel order) and the outputs, both only for the time of the call. */
  onRun: ((pixels: Uint8Array, outputs: Readonly<Record<string, Tensor>>) => void) | undefined;

  /** `increment`: a session that keeps its maps computes only what has changed on the canvas, which must be RGB. */
  constructor(session: Session, contract: PixelContract, increment?: StageIncrement) {
    const { width, height, tensor } = contract;
    this.session = session;
    this.contract = contract;
    this.#picture = new PixelCanvas(contract);
    this.#chooser = increment === undefined || session.kept === undefined || this.canvas.channels !== 3 ? undefined : new CellChooser(increment.chooser);
    this.#feeds = { [tensor]: { type: 'uint8', dims: [1, height, width, this.canvas.channels], data: this.#picture.pixels } };
  }

  /** What `run` reads: RGB or grey. */
  get canvas(): Canvas {
    return this.#picture.canvas;
  }

  /**
   * Puts a picture on the canvas as it is: what a golden vector holds.
   * @throws RuntimeError E_PACKAGE when it has another size
   */
  load(pixels: Uint8Array, what: string): void {
    if (pixels.length !== this.canvas.data.length) {
      throw new RuntimeError('E_PACKAGE', `Expected ${this.canvas.data.length} bytes of pixels in ${what} but it has ${pixels.length}`);
    }
    this.canvas.data.set(pixels);
    this.afresh();
  }

  /** The next run computes everything, whatever has changed: its picture has nothing to do with the frames before. */
  afresh(): void {
    this.#chooser?.forget();
  }

  /** The outputs belong to the caller until the next run. */
  async run(): Promise<Record<string, Tensor>> {
    this.#picture.drawn();
    const active = this.#choose();
    return this.#reusing((reused) => this.session.run(this.#feeds, reused, active));
  }

  /** Runs the layers up to the split of the session. The features belong to the caller until the next run. @throws RuntimeError E_INPUT without a split */
  async runPrefix(): Promise<Tensor> {
    this.#picture.drawn();
    return this.#split.prefix(this.#feeds, this.#choose());
  }

  /** Goes on from there; the outputs are those of `run`. */
  async runSuffix(): Promise<Record<string, Tensor>> {
    const split = this.#split;
    return this.#reusing((reused) => split.suffix(reused));
  }

  async #reusing(run: (reused: Record<string, Tensor> | undefined) => Promise<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    const reused = this.#outputs;
    this.#outputs = undefined; // a run that begins before this one ends has tensors of its own
    const outputs = await run(reused);
    this.onRun?.(this.#picture.pixels, outputs);
    this.#outputs = outputs;
    return outputs;
  }

  get #split(): SplitRun {
    if (this.session.split === undefined) throw new RuntimeError('E_INPUT', 'Expected a session that was opened with the option split');
    return this.session.split;
  }

  /** The cells of the canvas that the last run, or the last part of one, computed; null: all of it. */
  get active(): CellMask | null {
    return this.session.kept?.active ?? null;
  }

  /** Undefined: all of it. */
  #choose(): CellMask | undefined {
    if (this.#chooser === undefined) return undefined;
    if (this.session.kept?.valid !== true) this.#chooser.forget();
    return this.#chooser.choose({ width: this.canvas.width, height: this.canvas.height, data: this.canvas.data }, this.changeFactor) ?? undefined;
  }

  /** Memory that the engine states for this model, bytes; 0 when it states none. */
  get memoryBytes(): number {
    return memoryOfSession(this.session);
  }
}

export type ModelStageOptions = EngineOptions & Pick<SessionOptions, 'modelSha256' | 'split' | 'background'> & { increment?: StageIncrement };

/**
 * Opens a model that is fed 8-bit pixels as its contract says.
 * @throws RuntimeError E_MODEL_* when it cannot run, E_INPUT or E_MODEL_SHAPE when its input is not the contract's picture or an output is missing
 */
export async function openModelStage(name: string, model: Uint8Array, contract: StageContract, { increment, ...options }: ModelStageOptions = {}): Promise<ModelStage> {
  const input = pixelsOf(contract);
  const { tensor, mean, std } = input;
  const session = await createSession(model, { ...options, floats: 'float32', pixels: { [tensor]: { mean, std } }, ...(increment === undefined ? {} : { incremental: increment.session }) });
  const problem = mismatch(session, input) ?? missingOutputs(session, contract);
  if (problem === null) return new ModelStage(session, input, increment);
  await session.close();
  throw new RuntimeError('E_MODEL_SHAPE', `The model of stage ${name} does not fit its contract: ${problem}`);
}

/** What of the model's input is not as the contract says; null when it fits. */
function mismatch({ inputs }: Session, { tensor, width, height, channels }: PixelContract): string | null {
  const expected = [1, height, width, channels === 'grey' ? 1 : 3];
  const [input, ...others] = inputs;
  if (input?.name === tensor && others.length === 0 && input.dims.length === 4 && expected.every((dim, axis) => dim === input.dims[axis])) return null;
  const received = inputs.map((info) => `${info.name} [${info.dims.join(', ')}]`).join(', ');
  return `expected one input ${tensor} [${expected.join(', ')}] but it has ${received}`;
}
