import type { Format } from './grids.js';

/** Machines that formats can be chosen for: this one, by measurement, or a kind of core, by what its instructions do. */
export type Target = 'this' | 'avx2' | 'a72' | 'a76';

export const targets: readonly Target[] = ['this', 'avx2', 'a72', 'a76'];

/**
 * Multiply-adds an instruction of the inner loops that a core spends on them. Counted, not measured: they say which format is faster on a
 * core and about how much, not how long a layer takes. A format that loses to int8 is unpacked to int8 when the model is loaded, and has its rate.
 *
 * avx2 (no VNNI): int8 is vpmaddubsw, vpmaddwd, vpaddd for 32 products; few levels need vpmaddubsw, vpaddw. a72 (ARMv8.0, as a53, a57,
 * a73): int8 is smull, smlal, sadalp for 16; few levels need one smlal for 8, ternary takes about 115 instructions, loads and moves
 * included, for 1024. a76 (ARMv8.2 with dot product, as a55, a78): sdot is 16 an instruction, which none of the others reaches. Sums of 4.6
 * bits are widened every 256 products: 4 % (Trusov et al., doi 10.3390/math12050651). float32: one fused multiply-add for a vector.
 */
const rates: Readonly<Record<Exclude<Target, 'this'>, Readonly<Record<Format | 'float32', number>>>> = {
  avx2: { float32: 8, int8: 32 / 3, w4a8: 32 / 3, w46: 16 / 1.04, int4: 16, ternary: 13 },
  a72: { float32: 4, int8: 16 / 3, w4a8: 16 / 3, w46: 8 / 1.04, int4: 8, ternary: 1024 / 115 },
  a76: { float32: 4, int8: 16, w4a8: 16, w46: 16, int4: 16, ternary: 16 },
};

/** Cost of so many multiply-adds, in instructions. */
export const instructionsFor = (target: Exclude<Target, 'this'>, format: Format | 'float32', macs: number): number => macs / rates[target][format];
