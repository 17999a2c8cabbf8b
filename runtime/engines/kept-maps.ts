import type { ActiveCells, CellMask, NativeProgram } from '../../kernels/binding/index.js';
import { RuntimeError } from '../errors.js';
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

/** What an incremental session knows of the maps in its program's arena. */
export class NativeKeptMaps implements KeptMaps {
  readonly bytes: number;
  share = 1;
  #valid = false;
  /** Counts what makes the maps invalid, so that a run that began before does not make them valid. */
  #losses = 0;
  #pending = 0;
  /** What the last run wrote into, by output; undefined when it failed. */
  #written: readonly TensorData[] | undefined;

  constructor(private readonly native: NativeProgram, private readonly outputs: readonly ProgramPort[]) {
    this.bytes = native.arenaBytes;
  }

  get valid(): boolean {
    return this.#valid;
  }

  drop(): void {
    this.#lose();
    this.native.dropKept(); // false while runs are pending: the memory stays, and the next run computes everything all the same
  }

  /** What the program is to compute; undefined: everything. @throws RuntimeError E_INPUT */
  activeFor(mask: CellMask | undefined, reused: ReusedOutputs): ActiveCells | undefined {
    if (mask === undefined) return undefined;
    checkMask(mask);
    if (!this.#valid) return undefined;
    // An output that is changed after the program has written it does not hold what it wrote.
    const held = (port: ProgramPort, i: number): boolean => !port.flip && !port.padded && reused[port.name] !== undefined && reused[port.name]?.data === this.#written?.[i];
    const { width, height, bits } = mask;
    return { width, height, bits, outputsKept: this.#pending === 0 && this.outputs.every(held) };
  }

  /** Follows a run of the program; `work` resolves to the share that was computed. */
  async follow(work: () => Promise<number>): Promise<void> {
    const losses = this.#losses;
    this.#pending++;
    try {
      this.share = await work();
      this.#valid = losses === this.#losses;
    } catch (error) {
      this.#lose();
      throw error;
    } finally {
      this.#pending--;
      this.#written = undefined;
    }
  }

  /** The outputs of the run that was followed last. */
  wrote(tensors: readonly Tensor[]): void {
    this.#written = tensors.map(({ data }) => data);
  }

  #lose(): void {
    this.#valid = false;
    this.#losses++;
  }
}
