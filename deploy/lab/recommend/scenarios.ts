/** Which chains are worth trying for which kind of model: the first of the two tables. The order is that of the expected worth; cheap ones are tried first. */
import { methods, type StepName } from './methods.js';

export const scenarios = ['face', 'acoustic', 'mobile-cnn', 'low-memory'] as const;
export type Scenario = (typeof scenarios)[number];

export interface Candidate {
  /** Names of the steps, joined by `+`; also the name of its folder. */
  readonly id: string;
  readonly steps: readonly StepName[];
  readonly reason: string;
  readonly source: string;
}

const bits = 'runtime/README.md, "Fewer bits than eight"';
type Row = readonly [steps: string, reason: string, source: string];

const common: readonly Row[] = [
  ['prune60+int8', 'channels that are gone and 8 bits save time independently of each other', 'deploy/DECISIONS.md, D-039 and D-053'],
  ['prune60+distil+int8', 'what pruning lost is taught again before anything is rounded', 'deploy/DECISIONS.md, D-053'],
];

const table: Readonly<Record<Scenario, readonly Row[]>> = {
  face: [
    ['int8-minmax', 'embeddings of people that calibration did not see keep most with the ranges of min-max', 'runtime/DECISIONS.md, R-022'],
    ['int8-minmax+distil', 'scales are tuned by the embeddings of the original (FAT)', 'deploy/lab/README.md, "Chains"'],
    ['minifloat11', 'where only the package is too large: nothing else changes', 'deploy/DECISIONS.md, D-044'],
    ['w4a8', 'few levels of activations cost an embedder five times as much as few levels of weights', 'runtime/DECISIONS.md, R-040'],
    ['w46', 'faster than int8 where 8-bit products have no instruction of their own', bits],
    ['w46+distil', 'what few levels lost may be won back by the scales', 'deploy/lab/README.md, "Chains"'],
    ['prune60', 'the embedder keeps a cosine of 0.99 with 40 % fewer multiply-adds', 'deploy/DECISIONS.md, D-039'],
    ...common,
  ],
  acoustic: [
    ['int8', 'spectrograms stay in float by a rule, and the classes are kept', 'runtime/DECISIONS.md, R-039'],
    ['int8+distil', 'logits vary widely, and their scales may be tuned (FAT)', 'deploy/lab/README.md, "Chains"'],
    ['w46', 'three quarters of the multiply-adds of YAMNet can have 4.6 bits', bits],
    ['w46+distil', 'what few levels lost may be won back by the scales', 'deploy/lab/README.md, "Chains"'],
    ['int4', 'half of the multiply-adds of YAMNet can have 4 bits', bits],
    ['minifloat11', 'where only the package is too large: nothing else changes', 'deploy/DECISIONS.md, D-044'],
    ['prune75', 'a quarter of the channels is a small step for a network that was made for hundreds of classes', 'deploy/DECISIONS.md, D-039'],
    ['prune75+int8', 'channels that are gone and 8 bits save time independently of each other', 'deploy/DECISIONS.md, D-039 and D-053'],
    ...common,
  ],
  'mobile-cnn': [
    ['int8', 'most of the time for hardly any accuracy', 'deploy/BENCHMARKS.md'],
    ['int8+distil', 'scales are tuned by the outputs of the original (FAT)', 'deploy/lab/README.md, "Chains"'],
    ['w46', 'a quarter of the multiply-adds of SSD-MobileNetV2 can have 4.6 bits', bits],
    ['w46+distil', 'what few levels lost may be won back by the scales', 'deploy/lab/README.md, "Chains"'],
    ['minifloat11', 'where only the package is too large: nothing else changes', 'deploy/DECISIONS.md, D-044'],
    ['prune75', 'mobile networks have few channels to spare, so a quarter comes before 40 %', 'deploy/DECISIONS.md, D-039'],
    ['prune75+int8', 'channels that are gone and 8 bits save time independently of each other', 'deploy/DECISIONS.md, D-039 and D-053'],
    ['prune75+distil+int8', 'what pruning lost is taught again before anything is rounded', 'deploy/DECISIONS.md, D-053'],
    ...common,
  ],
  'low-memory': [
    ['int8', 'weights and activations take a quarter', 'runtime/DECISIONS.md, R-021'],
    ['int8+distil', 'scales are tuned by the outputs of the original (FAT)', 'deploy/lab/README.md, "Chains"'],
    ['minifloat8', 'where only the package is too large: 8 bits a weight without quantized activations', 'deploy/DECISIONS.md, D-044'],
    ['w4a8', 'two thirds of the package of int8', 'runtime/DECISIONS.md, R-040'],
    ['int4', 'the fewest bits that weights can have without training', bits],
    ['int4+distil', 'what few levels lost may be won back by the scales', 'deploy/lab/README.md, "Chains"'],
    ['sparse-int4', 'zeros and 4 bits in one sweep; memory stays, because weights are expanded when they are loaded', 'deploy/DECISIONS.md, D-046'],
    ['prune60', 'channels that are gone take memory neither for weights nor for activations', 'deploy/DECISIONS.md, D-039'],
    ...common,
    ['prune60+w4a8', 'fewer channels, and few bits for those that are left', 'runtime/DECISIONS.md, R-040'],
  ],
};

const tierOf = (steps: readonly StepName[]): number => Math.max(...steps.map((name) => methods[name].tier));

/** Candidates of a scenario, cheap ones first, and each behind those that it goes on from. */
export function candidatesOf(scenario: Scenario): Candidate[] {
  const rows = table[scenario].map(([id, reason, source]): Candidate => ({ id, steps: id.split('+') as StepName[], reason, source }));
  return rows.map((row, place) => ({ row, place })).sort((a, b) => tierOf(a.row.steps) - tierOf(b.row.steps) || a.row.steps.length - b.row.steps.length || a.place - b.place).map(({ row }) => row);
}
