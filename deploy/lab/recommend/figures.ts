/** What counts of a model: what it loses, takes and costs. */
import { isas, type Isa } from '../../../kernels/binding/native.js';
import { inspectModel, type ComputeFormat, type InspectedLayer } from '../../../runtime/inspect.js';
import { deflate } from '../../../runtime/package/deflate.js';
import type { Format } from '../../../runtime/quantize/formats/grids.js';
import { instructionsFor, type Target } from '../../../runtime/quantize/formats/targets.js';
import { centredCosine, meanAgreement, type Agreement } from '../../../runtime/quantize/report/fidelity.js';
import { openEntry, summarize, takeTurns, type Entry } from '../../bench/measure.js';
import type { Feeds } from '../chain/steps.js';
import type { EnergyModel } from './energy.js';
import type { Point } from './front.js';

/** Parts that the uncertainty of a drop is estimated from: one after the other is left out (Efron's jackknife, by groups). */
const parts = 5;

/** 1 minus the agreement with the original, and its standard error. */
export interface Drop {
  readonly drop: number;
  readonly plus_minus: number;
}

/** What is lost of the original's answers: of a detector the share of its boxes, else 1 minus the cosine of the outputs without their mean over the samples. */
export function dropOf(wanted: readonly Feeds[], answers: readonly Feeds[], agreement: Agreement | undefined): Drop {
  const lost = (keep: (i: number) => boolean): number => {
    const [a, b] = [wanted, answers].map((all) => all.filter((_, i) => keep(i))) as [Feeds[], Feeds[]];
    return 1 - (agreement === undefined ? centredCosine(a, b) : meanAgreement(a, b, agreement));
  };
  const groups = Math.min(parts, Math.floor(wanted.length / 2));
  const without = Array.from({ length: groups }, (_, part) => lost((i) => i % groups !== part));
  const mean = without.reduce((sum, value) => sum + value, 0) / groups;
  const squares = without.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { drop: Math.max(0, lost(() => true)), plus_minus: groups < 2 ? NaN : Math.sqrt((squares * (groups - 1)) / groups) };
}

const counted: Readonly<Record<ComputeFormat, Format | 'float32' | undefined>> = {
  float32: 'float32', int8: 'int8', w46: 'w46', int4: 'int4', ternary: 'ternary', 'ternary-binary': 'ternary', binary: 'ternary', none: undefined,
};

const instructionsOf = (layers: readonly InspectedLayer[], target: Exclude<Target, 'this'>): number => layers.reduce((sum, { format, macs }) => {
  const as = counted[format];
  return as === undefined ? sum : sum + instructionsFor(target, as, macs);
}, 0);

/** Instruction sets whose layers have the formats of the file, because fewer bits are faster there. What a core gains by is in the rates of the target. */
const telling: readonly Isa[] = ['avx2', 'sse41', 'neon', 'ref'];

/** The layers as the file has them, whatever is fastest on this CPU. */
async function layersOf(bytes: Uint8Array, shapes: Shapes): Promise<readonly InspectedLayer[]> {
  for (const isa of telling.filter((each) => isas.includes(each))) {
    try {
      return (await inspectModel(bytes, { shapes, isa })).layers;
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'E_ISA') throw error;
    }
  }
  return (await inspectModel(bytes, { shapes })).layers;
}

type Shapes = Readonly<Record<string, readonly number[]>>;

/** What is known of a model without running it. */
export interface Sizes {
  readonly kb: number;
  readonly file_kb: number;
  readonly memory_kb: number;
  readonly macs: number;
  readonly weights: number;
  /** Multiply-adds by class of the energy model. */
  readonly float_macs: number;
  /** Millions of counted instructions; null where time is measured. */
  readonly instructions: number | null;
}

/** @throws RuntimeError E_MODEL_*, KernelError */
export async function sizesOf(bytes: Uint8Array, shapes: Shapes, target: Target): Promise<Sizes> {
  const { arenaBytes, packedBytes, scratchBytes, macs, parameters, layers } = await inspectModel(bytes, { shapes });
  return {
    kb: (deflate(bytes)?.length ?? bytes.length) / 1000, file_kb: bytes.length / 1000, memory_kb: (arenaBytes + packedBytes + scratchBytes) / 1000, macs, weights: parameters,
    float_macs: layers.reduce((sum, layer) => sum + (layer.format === 'float32' ? layer.macs : 0), 0),
    instructions: target === 'this' ? null : instructionsOf(await layersOf(bytes, shapes), target) / 1e6,
  };
}

/** Times of a run in milliseconds, with one thread: median, and median of the CPU time. */
export interface Times {
  readonly ms: number;
  readonly cpu_ms: number;
}

/** How long models take turns. */
const turns = { least: 21, most: 300 } as const;

/**
 * Times of models that take turns on the native engine, so that noise meets all of them alike.
 * @param seconds for each model; @throws as `createSession`
 */
export async function timesTogether(models: readonly Uint8Array[], shapes: Shapes, seconds: number): Promise<Times[]> {
  const entries: Entry[] = [];
  try {
    for (const model of models) entries.push(await openEntry(model, { engine: 'native', shapes }, 1));
    await takeTurns(entries, { ...turns, milliseconds: 1000 * seconds * models.length });
    return entries.map((entry) => {
      const { p50_ms, cpu_ms } = summarize(entry);
      return { ms: p50_ms, cpu_ms };
    });
  } finally {
    for (const { session } of entries) await session.close();
  }
}

/** Three digits, as tables show them: what looks equal is equal. */
const shown = (value: number): number => Number(value.toPrecision(3));

/** A tried model. */
export interface Measured extends Point, Drop {
  readonly id: string;
  readonly file_kb: number;
  readonly macs: number;
  readonly float_macs: number;
  /** Null where instructions are counted. */
  readonly cpu_ms: number | null;
}

/** All that counts, as it is shown. */
export function measured(id: string, { drop, plus_minus }: Drop, sizes: Sizes, times: Times | undefined, energy: EnergyModel): Measured {
  const { macs, float_macs, instructions, file_kb } = sizes;
  const all = { id, drop: Number(drop.toFixed(4)), plus_minus, cost: instructions ?? NaN, kb: shown(sizes.kb), memory_kb: shown(sizes.memory_kb), mj: null, file_kb, macs, float_macs, cpu_ms: null };
  return timed(all, times, energy);
}

/** The same with times that were measured anew, and what follows from them. */
export function timed(point: Measured, times: Times | undefined, energy: EnergyModel): Measured {
  const mj = energy.millijoules({ ...point, cpu_ms: times?.cpu_ms });
  return { ...point, cost: shown(times?.ms ?? point.cost), cpu_ms: times?.cpu_ms ?? null, mj: mj === null ? null : shown(mj) };
}
