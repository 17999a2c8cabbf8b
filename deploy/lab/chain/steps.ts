/** One step of a chain: a model goes in, a model and its figures come out. */
import { quantizeModel, type QuantizeReport } from '../../../runtime/quantize/quantize.js';
import type { Agreement } from '../../../runtime/quantize/report/fidelity.js';
import { centredCosine } from '../../../runtime/quantize/report/fidelity.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { divided } from '../divided.js';
import { toMinifloats } from '../methods/minifloats.js';
import { sparsify } from '../methods/sparse/sparsify.js';
import { tuneThresholds } from '../methods/thresholds.js';
import { answersOf, graphBytes, pruneDefaults, pruneModel, readGraph } from '../prune/prune.js';
import { tune } from '../prune/tune.js';
import { parseSparsity, type ChainStep, type ModelState } from './config.js';

export type Feeds = Readonly<Record<string, Tensor>>;

/** What all steps of a chain share. */
export interface StepContext {
  /** The model that the chain began with: the teacher. */
  readonly original: Uint8Array;
  /** Samples that steps may choose by; those that judge the chain are not among them. */
  readonly samples: readonly Feeds[];
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly seed: number;
  readonly threads: number;
  readonly agreement?: Agreement | undefined;
  onStage?(stage: string, done: number, total: number, detail?: string): void;
}

/** A number, or what the step says of itself. */
export type Figures = Readonly<Record<string, number | string | boolean | null>>;

export interface StepResult {
  readonly model: Uint8Array;
  readonly figures: Figures;
}

type Of<M extends ChainStep['method']> = Extract<ChainStep, { method: M }>;

async function pruned(bytes: Uint8Array, step: Of<'prune'>, { samples, shapes, seed, threads, onStage }: StepContext): Promise<StepResult> {
  const { macs, time, criterion, rounds, steps, rate, batch, align, exclude } = step;
  const target = macs === undefined ? { of: 'time' as const, left: time ?? 1 } : { of: 'macs' as const, left: macs };
  const { model, report } = await pruneModel(bytes, samples, { target, criterion, rounds, steps, rate, batch, align, exclude, seed, threads, keep: pruneDefaults.keep, sizes: { shapes }, ...(onStage === undefined ? {} : { onStage }) });
  const { macs_before, macs_after, time_ratio, agreement_untuned, agreement } = report;
  return { model, figures: { macs_before, macs_after, time_ratio, agreement_untuned, agreement } };
}

/** Weights of a float model, from the original; kept only if it helps on samples that were not tuned on. */
async function distilledWeights(bytes: Uint8Array, { steps, rate, batch }: Of<'distil'>, { original, samples, shapes, seed, threads, onStage }: StepContext): Promise<StepResult> {
  const [student, teacher] = [readGraph(bytes, { shapes }), readGraph(original, { shapes })];
  const { tuned, judged } = divided(samples);
  const wanted = await answersOf(teacher, judged);
  const before = centredCosine(wanted, await answersOf(student, judged));
  const learned = await tune(student, teacher, tuned, { steps, rate, batch, seed, threads, onStep: (step, all, loss) => onStage?.('distilling', step, all, `loss ${loss.toFixed(4)}`) });
  const after = centredCosine(wanted, await answersOf(learned, judged));
  const kept = after > before;
  return { model: kept ? graphBytes(learned) : bytes, figures: { tuned: 'weights', agreement_before: before, agreement_after: after, kept } };
}

/** Scales of a quantized model, from the original (FAT, arXiv 1812.07872). */
async function distilledScales(bytes: Uint8Array, { steps }: Of<'distil'>, { original, samples, onStage }: StepContext): Promise<StepResult> {
  const { model, report } = await tuneThresholds(original, bytes, samples, { steps, onStep: (step, all, loss) => onStage?.('distilling scales', step, all, `distance ${loss.toFixed(4)}`) });
  const { error_before, error_after, kept } = report;
  return { model, figures: { tuned: 'scales', error_before, error_after, kept } };
}

const share = ({ layers }: QuantizeReport): number => layers.filter(({ format }) => format !== 'float32').length / Math.max(1, layers.length);

async function quantized(bytes: Uint8Array, step: Of<'quantize'>, { samples, shapes, agreement, onStage }: StepContext): Promise<StepResult> {
  const { format, max_drop: maxDrop, target, ranges, edges, depthwise, exclude } = step;
  const { model, report } = await quantizeModel(bytes, samples, {
    format, target, method: ranges, edges, depthwise, exclude, shapes, ...(maxDrop === undefined ? {} : { maxDrop }), ...(agreement === undefined ? {} : { agreement }),
    onProgress: (stage, done, total) => onStage?.(`quantizing: ${stage}`, done, total ?? 0),
  });
  return { model, figures: { quantized_layers: share(report), low_bit_macs: report.low_bit_macs, weight_bits: report.weight_bits, ranges: report.method, output_cosine: report.output_cosine } };
}

async function sparse(bytes: Uint8Array, { sparsity, weights, group, exclude }: Of<'sparsify'>, { samples, shapes, onStage }: StepContext): Promise<StepResult> {
  const { model, report } = await sparsify(bytes, samples, { sparsity: sparsity === undefined ? undefined : parseSparsity(sparsity), weights, group, exclude, sizes: { shapes }, onLayer: (done, total) => onStage?.('layers', done, total) });
  return { model, figures: { zeros: report.zeros, packed_before: report.packed_before, packed_after: report.packed_after, agreement: report.agreement } };
}

async function minifloats(bytes: Uint8Array, { bits }: Of<'minifloat'>, { samples, shapes }: StepContext): Promise<StepResult> {
  const { model, report } = await toMinifloats(bytes, { bits, samples, sizes: { shapes } });
  return { model, figures: { bits, share: report.share } };
}

/**
 * Carries out a step.
 * @param state what the model is before it
 * @throws what its method throws
 */
export async function carryOut(step: ChainStep, bytes: Uint8Array, state: ModelState, context: StepContext): Promise<StepResult> {
  switch (step.method) {
    case 'prune': return pruned(bytes, step, context);
    case 'distil': return state === 'quantized' ? distilledScales(bytes, step, context) : distilledWeights(bytes, step, context);
    case 'quantize': return quantized(bytes, step, context);
    case 'sparsify': return sparse(bytes, step, context);
    case 'minifloat': return minifloats(bytes, step, context);
  }
}
