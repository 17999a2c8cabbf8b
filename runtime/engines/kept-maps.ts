import type { ActiveCells, CellMask, NativeProgram } from '../../kernels/binding/index.js';
import { RuntimeError } from '../errors.js';
import { MissedCells } from '../incremental/missed-cells.js';
import type { ProgramPort } from '../lower/compile.js';
import type { KeptMaps } from '../session-types.js';
import type { Tensor, TensorData } from '../tensor.js';
import type { ReusedOutputs } from './outputs.js';

const longestSide = 4096;

function checkMask({ width, height, bits }: CellMask): void {
  const side = (cells: number): boolean => Number.isInteger(cells) && cells >= 1 && cells <= longestSide;
  if (side(width) && side(height) && bits instanceof Uint8Array && bits.length === Math.ceil((width * height) / 8)) return;
  throw new RuntimeError('E_INPUT', `Expected a bit for each cell of a grid with sides of 1..${longestSide} for active but received ${bits instanceof Uint8Array ? bits.length : 'no'} bytes for ${width} x ${height} cells`);
}

/** What of a program runs: all of it, or one of the parts that a split divides it into. */
export type ProgramPart = 'whole' | 'prefix' | 'suffix';

/** What an incremental session knows of the maps in its program's arena. */
export class NativeKeptMaps implements KeptMaps {
  readonly bytes: number;
  share = 1;
  active: CellMask | null = null;
  #valid = false;
  /** Counts what makes the maps invalid, so that a run that began before does not make them valid. */
  #losses = 0;
  #pending = 0;
  /** What the last run wrote into, by output; undefined when it failed. */
  #written: readonly TensorData[] | undefined;
  /** What runs that stopped at the split have left undone behind it. */
  readonly #missed = new MissedCells();

  /** @param stopped whether a run has stopped half-way, so that its maps are in use */
  constructor(private readonly native: NativeProgram, private readonly outputs: readonly ProgramPort[], private readonly stopped: () => boolean) {
    this.bytes = native.arenaBytes;
  }

  get valid(): boolean {
    return this.#valid;
  }

  drop(): void {
    this.#lose();
    if (!this.stopped()) this.native.dropKept(); // false while runs are pending: the memory stays, and the next run computes everything all the same
  }

  /**
   * What a run of that part is to compute, and then has; undefined: everything.
   * @param mask what has changed since the last run that began with the first op; not of a suffix
   * @throws RuntimeError E_INPUT
   */
  take(part: ProgramPart, mask: CellMask | undefined, reused: ReusedOutputs): ActiveCells | undefined {
    if (mask !== undefined) checkMask(mask);
    const changed = this.#valid ? mask : undefined;
    if (part !== 'suffix') this.#missed.add(changed);
    const cells = part === 'prefix' ? changed : this.#missed.take();
    this.active = cells ?? null;
    return cells === undefined ? undefined : { ...cells, outputsKept: this.#holdOutputs(reused) };
  }

  /** Follows a run of the program; `work` resolves to the share that was computed. */
  async follow(part: ProgramPart, work: () => Promise<number>): Promise<void> {
    const losses = this.#losses;
    this.#pending++;
    try {
      const share = await work();
      this.share = part === 'suffix' ? this.share + share : share;
      this.#valid = losses === this.#losses;
    } catch (error) {
      this.#lose();
      throw error;
    } finally {
      this.#pending--;
      if (part !== 'prefix') this.#written = undefined; // a prefix writes no outputs
    }
  }

  /** The outputs of the run that was followed last. */
  wrote(tensors: readonly Tensor[]): void {
    this.#written = tensors.map(({ data }) => data);
  }

  #holdOutputs(reused: ReusedOutputs): boolean {
    // An output that is changed after the program has written it does not hold what it wrote.
    const held = (port: ProgramPort, i: number): boolean => !port.flip && !port.padded && reused[port.name] !== undefined && reused[port.name]?.data === this.#written?.[i];
    return this.#pending === 0 && this.outputs.every(held);
  }

  #lose(): void {
    this.#valid = false;
    this.#losses++;
    this.#missed.add(undefined);
  }
}
