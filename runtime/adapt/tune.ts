/**
 * Adapts the thresholds of a quantized model to the pictures that a device sees, without labels and without the float model: what the activations of
 * the package's own model take on when they are not rounded says where their thresholds should be, and the outputs of that model judge the result.
 */
import { RuntimeError } from '../errors.js';
import { createSession, type Session } from '../session.js';
import type { SessionOptions } from '../session-types.js';
import type { Tensor } from '../tensor.js';
import { bytesOf, moves, moveThresholds, readQuantized, type QuantizedModel, type Threshold } from './apply.js';
import { Judge } from './judge.js';
import { floatActivations, limitsOfValues, tapped } from './teacher.js';
import type { ThresholdGroup } from './thresholds.js';
import { everything, leastError, SeenNumbers, wholeRange, type Choice } from './values.js';

type Feeds = Readonly<Record<string, Tensor>>;

/** Fewer samples say too little. */
export const leastSamples = 10;
/** At most so many samples compare candidates, and as many others judge the one that was chosen. */
const comparedSamples = 16;
/** The error of the outputs must fall to this share or less, on samples that were not tuned on. */
const worthwhile = 0.9;

export interface AdaptOptions {
  /** How samples are fed: threads, normalization of pixels. */
  readonly session?: Pick<SessionOptions, 'engine' | 'threads' | 'isa' | 'pixels'>;
}

export interface AdaptStep {
  readonly phase: 'observe' | 'try' | 'judge';
  readonly done: number;
  readonly total: number;
}

export interface AdaptReport {
  /** Groups of activations that share a threshold, those that may move, and those that moved. */
  readonly groups: number;
  readonly movable: number;
  readonly moved: number;
  /** Samples that thresholds were chosen by, and others that judged them. */
  readonly tuned_samples: number;
  readonly judged_samples: number;
  /**
   * On the samples that judged: energy of what rounding activations changes in the outputs, as a share of what varies in them from sample to sample; with
   * the package's thresholds and with the adapted ones.
   */
  readonly error_before: number;
  readonly error_after: number;
  /** Whether the adapted thresholds are worth it. Otherwise there are none. */
  readonly kept: boolean;
}

export interface Adaptation {
  /** Those that moved; none when they were not worth it. */
  readonly thresholds: readonly Threshold[];
  readonly report: AdaptReport;
}

/** Every third sample judges; the others are tuned on. */
function divided(samples: readonly Feeds[]): { tuned: Feeds[]; judged: Feeds[] } {
  return { tuned: samples.filter((_, i) => i % 3 !== 2), judged: samples.filter((_, i) => i % 3 === 2) };
}

const spread = (items: readonly Feeds[], limit: number): Feeds[] => items.filter((_, i) => Math.floor((i * limit) / items.length) !== Math.floor(((i - 1) * limit) / items.length) || items.length <= limit);

/** @throws RuntimeError E_ADAPT when an activation is NaN or infinite */
function addNumbers(seen: SeenNumbers, value: string, { some, least, most }: Record<'some' | 'least' | 'most', Tensor | undefined>): void {
  const [min, max] = [Number(least?.data[0]), Number(most?.data[0])];
  if (!(some?.data instanceof Float32Array) || !Number.isFinite(min) || !Number.isFinite(max)) throw new RuntimeError('E_ADAPT', `The value '${value}' is NaN or infinite without rounding, so its thresholds cannot be adapted`, { details: { value } });
  seen.add(some.data, { min, max });
}

/** @param model is made here, so that nothing keeps its bytes while the session runs */
async function* withSession<T>(model: () => Uint8Array, options: AdaptOptions['session'], use: (session: Session) => AsyncGenerator<AdaptStep, T>): AsyncGenerator<AdaptStep, T> {
  const session = await createSession(model(), { floats: 'float32', ...options });
  try {
    return yield* use(session);
  } finally {
    await session.close();
  }
}

interface Observed {
  readonly seen: ReadonlyMap<string, SeenNumbers>;
  readonly tuned: Judge;
  readonly judged: Judge;
}

/** What activations take on, and what the model puts out without rounding them. */
async function* observe(model: QuantizedModel, movable: readonly ThresholdGroup[], { tuned, judged }: ReturnType<typeof divided>, options: AdaptOptions): AsyncGenerator<AdaptStep, Observed> {
  const teacher = floatActivations(model);
  const taps = tapped(teacher, movable.flatMap(({ values }) => values));
  const seen = new Map(movable.map(({ value }, i) => [value, new SeenNumbers(i)]));
  const judges = { tuned: new Judge(spread(tuned, comparedSamples)), judged: new Judge(spread(judged, comparedSamples)) };
  return yield* withSession(() => bytesOf(taps.graph), options.session, async function* (session) {
    const all = [...new Set([...tuned, ...judges.judged.samples])];
    const isTuned = new Set(tuned);
    let results: Readonly<Record<string, Tensor>> = {};
    for (const [done, feeds] of all.entries()) {
      results = await session.run(feeds, results);
      for (const { value: name, values } of isTuned.has(feeds) ? movable : []) {
        const numbers = seen.get(name);
        for (const value of values) {
          const names = taps.outputs.get(value);
          if (names !== undefined && numbers !== undefined) addNumbers(numbers, value, { some: results[names.some], least: results[names.least], most: results[names.most] });
        }
      }
      for (const judge of Object.values(judges)) judge.expect(feeds, results, model.graph.outputs);
      yield { phase: 'observe', done: done + 1, total: all.length };
    }
    return { seen, ...judges };
  });
}

/** A choice as a threshold, part of the way from where the package has it. */
function thresholdOf(group: ThresholdGroup, { scale, zeroPoint }: Choice, share: number): Threshold {
  // The factor that, in single precision, makes the chosen scale again.
  const factor = share === 1 ? scale / group.scale : (scale / group.scale) ** share;
  return { value: group.value, factor: Math.min(Math.max(factor, 0.5), 2), shift: Math.round((zeroPoint - group.zeroPoint) * share) };
}

/** A group moves if that takes away so much of its error; the others stay, so that nothing changes that need not. */
const noticeable = 0.95;

/** Sets of thresholds to try: those with the least error of each value, and those that hold everything, all the way and half of it. */
function candidates(movable: readonly ThresholdGroup[], seen: ReadonlyMap<string, SeenNumbers>, limits: ReadonlyMap<string, { min: number; max: number }>): Threshold[][] {
  const chosen = (choose: typeof leastError): { group: ThresholdGroup; choice: Choice }[] => movable.flatMap((group) => {
    const numbers = seen.get(group.value);
    const known = group.values.map((value) => limits.get(value) ?? everything);
    const range = { min: Math.min(...known.map(({ min }) => min)), max: Math.max(...known.map(({ max }) => max)) };
    return numbers === undefined ? [] : [{ group, choice: choose(group, numbers, range) }];
  });
  const [least, whole] = [chosen(leastError).filter(({ choice }) => choice.error < noticeable * choice.before), chosen(wholeRange)];
  const as = (list: typeof least, share: number): Threshold[] => list.map(({ group, choice }) => thresholdOf(group, choice, share)).filter(moves);
  return [as(least, 1), as(least, 0.5), as(whole, 1), as(whole, 0.5)].filter((thresholds) => thresholds.length > 0);
}

/** Sets of thresholds to try, and the judges of them. The numbers that were seen are not needed any more then. */
async function* propose(model: QuantizedModel, movable: readonly ThresholdGroup[], parts: ReturnType<typeof divided>, options: AdaptOptions): AsyncGenerator<AdaptStep, Pick<Observed, 'tuned' | 'judged'> & { tries: Threshold[][] }> {
  const { seen, ...judges } = yield* observe(model, movable, parts, options);
  return { tries: candidates(movable, seen, limitsOfValues(floatActivations(model))), ...judges };
}

/**
 * Adapts thresholds step by step: each step is a run or two of the model, so that the caller can pace them. Nothing is kept of samples.
 * @param model QDQ ONNX with 8-bit activations
 * @param samples feeds of what the device sees, at least 10, in the order in which they came; two of three are tuned on, one of three judges
 * @throws RuntimeError E_ADAPT: too few samples, no threshold that may move; E_MODEL_*, E_INPUT
 */
export async function* adapting(model: Uint8Array, samples: readonly Feeds[], options: AdaptOptions = {}): AsyncGenerator<AdaptStep, Adaptation> {
  if (samples.length < leastSamples) throw new RuntimeError('E_ADAPT', `Expected at least ${leastSamples} samples to adapt thresholds to but received ${samples.length}: every third one judges the result`);
  const read = readQuantized(model);
  const movable = read.groups.filter(({ fixed }) => fixed === null);
  if (movable.length === 0) throw new RuntimeError('E_ADAPT', `None of the model's ${read.groups.length} thresholds may move: ${read.groups[0]?.fixed ?? ''}`);
  const parts = divided(samples);
  const { tries, tuned, judged } = yield* propose(read, movable, parts, options);
  const errors: number[] = [];
  const errorWith = (thresholds: readonly Threshold[], judge: Judge): AsyncGenerator<AdaptStep, number> =>
    withSession(() => (thresholds.length === 0 ? model : bytesOf(moveThresholds(read, thresholds))), options.session, async function* (session) {
      const error = await judge.errorOf(session);
      yield { phase: judge === judged ? 'judge' : 'try', done: errors.length, total: tries.length };
      return error;
    });
  for (const thresholds of tries) errors.push(yield* errorWith(thresholds, tuned));
  const best = tries[errors.indexOf(Math.min(...errors))] ?? [];
  const before = yield* errorWith([], judged);
  const after = best.length === 0 ? before : yield* errorWith(best, judged);
  const kept = after <= worthwhile * before;
  const thresholds = kept ? best : [];
  return {
    thresholds,
    report: { groups: read.groups.length, movable: movable.length, moved: thresholds.length, tuned_samples: parts.tuned.length, judged_samples: judged.samples.length, error_before: before, error_after: after, kept },
  };
}

/** `adapting` at once. @param onStep is told of each step @throws as `adapting` */
export async function adaptThresholds(model: Uint8Array, samples: readonly Feeds[], { onStep, ...options }: AdaptOptions & { onStep?: (step: AdaptStep) => void } = {}): Promise<Adaptation> {
  const steps = adapting(model, samples, options);
  for (;;) {
    const { done, value } = await steps.next();
    if (done === true) return value;
    onStep?.(value);
  }
}
