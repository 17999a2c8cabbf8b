/**
 * What each step of a chain saves and costs, as this project measured it. The sentences are printed, and are in README.md of the lab; the numbers decide
 * what is tried within a budget.
 */
import type { Target } from '../../../runtime/quantize/formats/targets.js';
import { stepConfig, type ChainStep } from '../chain/config.js';

export const stepNames = ['int8', 'int8-minmax', 'w4a8', 'w46', 'int4', 'minifloat11', 'minifloat8', 'sparse-int4', 'prune75', 'prune60', 'distil'] as const;
export type StepName = (typeof stepNames)[number];

/** What was measured, and where it is written down. */
export interface Figure {
  readonly what: string;
  readonly source: string;
}

export interface Method {
  readonly saves: string;
  readonly costs: string;
  readonly measured: readonly Figure[];
  /** Cheap ones are tried first: 0 without training and rounding, 1 with rounding or layer by layer, 2 pruning, 3 distillation. */
  readonly tier: 0 | 1 | 2 | 3;
  /** Share of what the steps before it lost that it may win back at the most. None but distillation wins back anything. */
  readonly winsBack: number;
  /** Seconds that it takes, before anything was observed on this machine. */
  seconds(work: Work): number;
}

/** Sizes that the time of a step depends on. */
export interface Work {
  /** Seconds of a float32 pass of a sample. */
  readonly pass: number;
  /** Weights of the model. */
  readonly weights: number;
  /** Samples that steps are given. */
  readonly samples: number;
  /** Steps of fine-tuning or distillation. */
  readonly steps: number;
  /** Samples of such a step: one where scales are tuned, else a batch. */
  readonly batch: number;
}

/** Passes of a training step for each of its samples: forwards, backwards, and copies of weights and gradients. */
const trainingPasses = 8;

/** Of 3.5 million weights (MobileNetV2), on a core of an EPYC: rounding layer by layer, and choosing a minifloat for each tensor. */
const perWeight = { rounding: 40e-6, splitting: 3e-6 } as const;

/** Opening models, in seconds: all that counts for small ones. */
export const stepOverhead = 2;

const calibration = ({ pass, samples }: Work): number => 30 * pass * samples;

const figures = {
  int8: [
    { what: 'MobileNetV2: 1.36 ms instead of 4.41 ms, 1 thread, AVX512-VNNI', source: 'deploy/BENCHMARKS.md' },
    { what: 'SSD-MobileNetV2: AP50 0.4250 instead of 0.4258; face embeddings of unseen faces: mean cosine 0.9971; YAMNet: 46 of 50 clips, as float32', source: 'runtime/README.md, "Fewer bits than eight"' },
  ],
  w4a8: [{ what: 'face embedder: 656 kB in a package instead of 957 kB in int8, mean cosine 0.981; as fast as int8', source: 'runtime/DECISIONS.md, R-040' }],
  w46: [
    { what: '1.18 times as fast as int8 on AVX2, 0.97 times on AVX512-VNNI (geometric means of 14 models)', source: 'deploy/BENCHMARKS.md' },
    { what: 'SSD-MobileNetV2: AP50 0.4149 with 25 % of the multiply-adds below 8 bits; face embedder: 0.9888 with 21 %; YAMNet: 48 of 50 with 77 %', source: 'runtime/README.md, "Fewer bits than eight"' },
  ],
  int4: [
    { what: '1.17 times as fast as int8 on AVX2, 0.95 times on AVX512-VNNI (geometric means of 14 models)', source: 'deploy/BENCHMARKS.md' },
    { what: 'SSD-MobileNetV2: AP50 0.4136 with 38 % of the multiply-adds below 8 bits; face embedder: 0.9624 with 35 %; YAMNet: 45 of 50 with 55 %', source: 'runtime/README.md, "Fewer bits than eight"' },
  ],
  prune: [{ what: 'face embedder with 40 % fewer multiply-adds: cosine 0.99 without one step of training', source: 'deploy/DECISIONS.md, D-039' }],
  minifloat: [{ what: 'face embedder in 11 bits: centred cosine 0.9999', source: 'deploy/DECISIONS.md, D-044' }],
  sparse: [{ what: 'character transformer of 0.1 million weights with 50 % zeros: perplexity 7.17 rises by 0.99 (by magnitude: 2.08); runs take as long as before', source: 'deploy/DECISIONS.md, D-046' }],
} as const satisfies Record<string, readonly Figure[]>;

const fewBits = { tier: 1, winsBack: 0, seconds: (work: Work) => calibration(work) + perWeight.rounding * work.weights } as const;
const minifloats = { measured: figures.minifloat, tier: 0, winsBack: 0, seconds: ({ pass, samples, weights }: Work) => 4 * pass * samples + perWeight.splitting * weights } as const;
const int8: Method = { saves: 'three quarters of the bytes and memory of weights, and time', costs: 'calibration; little accuracy', measured: figures.int8, tier: 0, winsBack: 0, seconds: calibration };
const pruning = { measured: figures.prune, tier: 2, winsBack: 0, seconds: ({ pass, samples, steps, batch }: Work) => pass * (40 * samples + trainingPasses * steps * batch) } as const;

/** By step: the second of the two tables. */
export const methods: Readonly<Record<StepName, Method>> = {
  int8,
  'int8-minmax': { ...int8, measured: [{ what: 'face embedder, photographs of other people: cosine 0.9949 with minmax, 0.9943 with percentile, 0.9924 with mse', source: 'runtime/DECISIONS.md, R-022' }] },
  w4a8: { ...fewBits, saves: 'bytes of weights in a package; no time', costs: 'rounding layer by layer; more accuracy than int8', measured: figures.w4a8 },
  w46: { ...fewBits, saves: 'bytes of weights, and time on cores without instructions for 8-bit products', costs: 'rounding layer by layer; more accuracy than int8', measured: figures.w46 },
  int4: { ...fewBits, saves: 'more bytes of weights than w46, and about as much time', costs: 'rounding layer by layer; more accuracy than w46', measured: figures.int4 },
  minifloat11: { ...minifloats, saves: 'two thirds of the bytes in the file; neither memory nor time', costs: 'next to nothing' },
  minifloat8: { ...minifloats, saves: 'three quarters of the bytes in the file; neither memory nor time', costs: 'more accuracy than 11 bits' },
  'sparse-int4': { ...fewBits, saves: 'bytes in the file and in a package; neither memory nor time', costs: 'rounding layer by layer; accuracy', measured: figures.sparse },
  prune75: { ...pruning, saves: 'a quarter of the multiply-adds, with bytes and time', costs: 'fine-tuning; accuracy' },
  prune60: { ...pruning, saves: '40 % of the multiply-adds, with bytes and time', costs: 'fine-tuning; accuracy' },
  distil: {
    saves: 'nothing by itself', costs: 'the longest time', tier: 3, winsBack: 0.7,
    measured: [{ what: 'it is undone where it does not help on samples that it did not learn from', source: 'deploy/lab/README.md, "Chains"' }],
    seconds: ({ pass, samples, steps, batch }) => pass * (4 * samples + trainingPasses * steps * (batch + 1)),
  },
};

/** Settings of a step, with all defaults. @param steps of fine-tuning and of distillation, each */
export function settingsOf(name: StepName, steps: number): ChainStep {
  const raw = {
    int8: { method: 'quantize', format: 'int8' }, 'int8-minmax': { method: 'quantize', format: 'int8', ranges: 'minmax' },
    w4a8: { method: 'quantize', format: 'w4a8' }, w46: { method: 'quantize', format: 'w46' }, int4: { method: 'quantize', format: 'int4' },
    minifloat11: { method: 'minifloat', bits: 11 }, minifloat8: { method: 'minifloat', bits: 8 },
    'sparse-int4': { method: 'sparsify', sparsity: '50%', weights: 'int4' },
    prune75: { method: 'prune', macs: 0.75, rounds: 1, steps }, prune60: { method: 'prune', macs: 0.6, rounds: 2, steps },
    distil: { method: 'distil', steps },
  }[name];
  return stepConfig.parse(raw);
}

/** What the cost of a run is measured in. */
export const unitOf = (target: Target): string => (target === 'this' ? 'ms' : `M instructions on ${target}`);
