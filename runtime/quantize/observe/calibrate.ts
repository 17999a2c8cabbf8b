import { RuntimeError, SternaError } from '../../errors.js';
import { graphToOnnx } from '../../graph/export.js';
import { removeDead, typeOf, type Graph } from '../../graph/graph.js';
import { serializeModel } from '../../onnx/serialize.js';
import { createSession, type EngineName, type Session } from '../../session.js';
import type { Tensor } from '../../tensor.js';
import { Histogram } from './histogram.js';

export type Feeds = Readonly<Record<string, Tensor>>;

/** Of each channel (axis 1 of feature maps, the last axis of matrices) over all samples: its mean, and whether it was ever anything but zero. */
class ChannelStatistics {
  readonly #sums: Float64Array;
  readonly #live: Uint8Array;
  readonly #inner: number;
  #perChannel = 0;

  constructor(shape: readonly number[]) {
    const axis = shape.length > 2 ? 1 : shape.length - 1;
    this.#sums = new Float64Array(shape[axis] ?? 1);
    this.#live = new Uint8Array(this.#sums.length);
    this.#inner = shape.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  }

  add(values: Float32Array): void {
    const channels = this.#sums.length;
    for (let start = 0, channel = 0; start < values.length; start += this.#inner, channel = (channel + 1) % channels) {
      let sum = 0;
      for (let i = start; i < start + this.#inner; i++) sum += values[i] ?? 0;
      this.#sums[channel] = (this.#sums[channel] ?? 0) + sum;
      if (this.#live[channel] === 0 && values.subarray(start, start + this.#inner).some((value) => value !== 0)) this.#live[channel] = 1;
    }
    this.#perChannel += values.length / channels;
  }

  means(): Float32Array {
    return Float32Array.from(this.#sums, (sum) => sum / Math.max(1, this.#perChannel));
  }

  /** Numbers of the channels that were always zero. */
  silent(): number[] {
    return [...this.#live.keys()].filter((channel) => this.#live[channel] === 0);
  }
}

/** Largest magnitude of each channel (axis 1) over all samples. */
class ChannelMagnitudes {
  readonly result: Float32Array;
  readonly #inner: number;

  constructor(shape: readonly number[]) {
    this.result = new Float32Array(shape[1] ?? 1);
    this.#inner = shape.slice(2).reduce((product, dim) => product * dim, 1);
  }

  add(values: Float32Array): void {
    const channels = this.result.length;
    for (let start = 0, channel = 0; start < values.length; start += this.#inner, channel = (channel + 1) % channels) {
      let magnitude = this.result[channel] ?? 0;
      for (let i = start; i < start + this.#inner; i++) {
        const value = Math.abs(values[i] ?? 0);
        if (value <= magnitude) continue;
        magnitude = value;
        if (Number.isNaN(value)) break;
      }
      this.result[channel] = magnitude;
    }
  }
}

/** Largest magnitude of each channel of `values` over the samples. @throws RuntimeError E_QUANTIZE */
export async function channelMagnitudes(session: Session, graph: Graph, values: readonly string[], samples: AsyncIterable<Feeds>): Promise<Map<string, Float32Array>> {
  const magnitudes = new Map(values.map((value) => [value, new ChannelMagnitudes(typeOf(graph, value).shape)]));
  let index = 0;
  for await (const feeds of samples) {
    const results = await runSample(session, feeds, index);
    for (const [input, { data }] of Object.entries(feeds)) {
      if (data instanceof Float32Array && !data.every(Number.isFinite)) throw notFinite(input, index);
    }
    for (const [value, statistic] of magnitudes) {
      const data = results[value]?.data;
      if (data instanceof Float32Array) statistic.add(data);
      if (!statistic.result.every(Number.isFinite)) throw notFinite(value, index);
    }
    index++;
  }
  return new Map([...magnitudes].map(([value, statistic]) => [value, statistic.result]));
}

export interface CalibrationStatistics {
  histograms: ReadonlyMap<string, Histogram>;
  channelMeans: ReadonlyMap<string, Float32Array>;
  /** Channels that were zero for every sample, of the same values. */
  silentChannels: ReadonlyMap<string, readonly number[]>;
  samples: number;
  /** Some of the samples, evenly spread, to measure the quantized model with. */
  kept: readonly Feeds[];
}

/** At most `limit` of the items, evenly spread. */
export function spread<T>(items: readonly T[], limit: number): T[] {
  const count = Math.min(limit, items.length);
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]).filter((item) => item !== undefined);
}

/**
 * Keeps at most `limit` items of a stream of unknown length, evenly spread: whenever twice as many have gathered, every other
 * one is dropped and from then on only every second is taken.
 */
export class SpreadSample<T> {
  #items: T[] = [];
  #stride = 1;
  #seen = 0;

  constructor(private readonly limit: number) {}

  add(item: T): void {
    if (this.#seen++ % this.#stride !== 0) return;
    this.#items.push(item);
    if (this.#items.length < 2 * this.limit) return;
    this.#items = this.#items.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }

  result(): T[] {
    return spread(this.#items, this.limit);
  }
}

/** A session of the graph whose outputs are, besides its own, `values`. */
export async function openObserved(graph: Graph, values: Iterable<string>, engine: EngineName | undefined): Promise<Session> {
  const extra = [...values].filter((value) => !graph.inputs.includes(value) && !graph.outputs.includes(value) && !graph.constants.has(value));
  return openGraph({ ...graph, outputs: [...graph.outputs, ...new Set(extra)] }, engine);
}

/** A session of the part of the graph that makes `values`, at least one of which is not an input. */
export async function openPart(graph: Graph, values: Iterable<string>, engine: EngineName | undefined): Promise<Session> {
  const outputs = [...new Set(values)].filter((value) => !graph.inputs.includes(value));
  return openGraph(removeDead({ ...graph, outputs }), engine);
}

async function openGraph(graph: Graph, engine: EngineName | undefined): Promise<Session> {
  const bytes = serializeModel(graphToOnnx(graph));
  if (engine !== undefined) return createSession(bytes, { engine });
  try {
    return await createSession(bytes, { engine: 'onnxruntime' });
  } catch (error) {
    if (error instanceof SternaError && error.code === 'E_ENGINE_MISSING') return createSession(bytes, { engine: 'native' });
    throw error;
  }
}

function observe(histogram: Histogram, value: string, tensor: Tensor | undefined, sample: number): Float32Array | undefined {
  if (!(tensor?.data instanceof Float32Array)) return undefined;
  if (!histogram.add(tensor.data)) throw notFinite(value, sample);
  return tensor.data;
}

const notFinite = (value: string, sample: number): RuntimeError =>
  new RuntimeError('E_QUANTIZE', `Calibration sample ${sample}: value '${value}' is NaN or infinite; leave out the sample, or exclude the layer that computes this value`, {
    details: { value, sample },
  });

/** @throws RuntimeError E_QUANTIZE naming the sample that does not fit */
export async function runSample(session: Session, feeds: Feeds, sample: number): Promise<Record<string, Tensor>> {
  try {
    return await session.run(feeds);
  } catch (cause) {
    if (!(cause instanceof SternaError)) throw cause;
    throw new RuntimeError('E_QUANTIZE', `Calibration sample ${sample}: ${cause.message}`, { cause, details: { sample, ...cause.details } });
  }
}

/** What calibration gathers. */
export interface Observation {
  readonly values: ReadonlySet<string>;
  /** Values of which each channel is looked at, too. */
  readonly channelsOf: ReadonlySet<string>;
  /** Number of samples to keep. */
  readonly keep: number;
  /** Whether the method needs more than the extremes. */
  readonly keepsBins: boolean;
}

/**
 * Runs the float graph over all samples and gathers statistics of values, in memory that does not grow with the samples.
 * @throws RuntimeError E_QUANTIZE: no sample, a feed that does not fit, NaN or infinity, an input that is always zero
 */
export async function calibrate(
  session: Session,
  graph: Graph,
  samples: AsyncIterable<Feeds> | Iterable<Feeds>,
  { values, channelsOf, keep, keepsBins }: Observation,
): Promise<CalibrationStatistics> {
  const histograms = new Map([...values].map((value) => [value, new Histogram(keepsBins)]));
  const channels = new Map([...channelsOf].map((value) => [value, new ChannelStatistics(typeOf(graph, value).shape)]));
  const kept = new SpreadSample<Feeds>(keep);
  let count = 0;
  for await (const feeds of samples) {
    const results = await runSample(session, feeds, count);
    for (const [value, histogram] of histograms) {
      const data = observe(histogram, value, feeds[value] ?? results[value], count);
      if (data !== undefined) channels.get(value)?.add(data);
    }
    kept.add(feeds);
    count++;
  }
  if (count === 0) throw new RuntimeError('E_QUANTIZE', 'Expected at least one calibration sample but received none');
  for (const input of graph.inputs) {
    const histogram = histograms.get(input);
    if (histogram !== undefined && histogram.min === 0 && histogram.max === 0) {
      throw new RuntimeError('E_QUANTIZE', `All ${count} calibration samples are zero for input '${input}'; expected data that resemble the later inputs of the model`, {
        details: { value: input },
      });
    }
  }
  return {
    histograms,
    channelMeans: new Map([...channels].map(([value, statistic]) => [value, statistic.means()])),
    silentChannels: new Map([...channels].map(([value, statistic]) => [value, statistic.silent()])),
    samples: count,
    kept: kept.result(),
  };
}
