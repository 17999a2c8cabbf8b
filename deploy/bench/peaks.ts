import { measurePeaks, type Isa, type PeakRate } from '../../kernels/binding/native.js';

/** Multiply-adds a second that an instruction set reaches at most, 1 thread, in 1e9; null where it is not known (`ref`). */
export interface Peak {
  int8: number | null;
  float32: number | null;
}

/** One measured instruction, as reports print it. */
export interface PeakRow {
  isa: Isa;
  instruction: string;
  format: PeakRate['format'];
  gmac_s: number;
}

/**
 * Peaks of instruction sets over a run. Each is measured again and again between the models, and the best of all measurements
 * counts: what a busy neighbour takes away for a moment was still what the CPU could do.
 */
export class PeakMeter {
  readonly #rates = new Map<Isa, PeakRate[]>();

  constructor(private readonly measure: (isa: Isa) => PeakRate[] = measurePeaks) {}

  /** Measures once more. @throws KernelError E_ISA */
  sample(isas: readonly Isa[]): void {
    for (const isa of new Set(isas)) {
      const known = this.#rates.get(isa) ?? [];
      const best = (rate: PeakRate): PeakRate => {
        const before = known.find(({ instruction }) => instruction === rate.instruction);
        return before !== undefined && before.macsPerSecond > rate.macsPerSecond ? before : rate;
      };
      this.#rates.set(isa, this.measure(isa).map(best));
    }
  }

  /** The fastest instruction of each format. */
  peak(isa: Isa): Peak {
    const of = (format: PeakRate['format']): number | null => {
      const speeds = (this.#rates.get(isa) ?? []).filter((rate) => rate.format === format).map(({ macsPerSecond }) => macsPerSecond / 1e9);
      return speeds.length === 0 ? null : Math.max(...speeds);
    };
    return { int8: of('int8'), float32: of('float32') };
  }

  rows(): PeakRow[] {
    return [...this.#rates].flatMap(([isa, rates]) => rates.map(({ instruction, format, macsPerSecond }) => ({ isa, instruction, format, gmac_s: macsPerSecond / 1e9 })));
  }
}

/** Speed as a share of what `threads` threads could reach; null where there is no peak, or nothing is multiplied. */
export function shareOfPeak(gmacS: number | null, peak: number | null, threads: number): number | null {
  return gmacS === null || peak === null ? null : gmacS / (peak * threads);
}

/** 1e9 multiply-adds a second; null where there are none. */
export const gmacPerSecond = (macs: number, ms: number): number | null => (macs === 0 || ms === 0 ? null : macs / ms / 1e6);
