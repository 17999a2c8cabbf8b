import { performance } from 'node:perf_hooks';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { RuntimeError } from '../errors.js';
import { bindSymbols } from '../graph/open-dimensions.js';
import type { Session, SessionOptions, SessionStats } from '../session-types.js';
import { dataTypes, type DataType, type Tensor, type TensorInfo } from '../tensor.js';
import { orderFeeds, pixelLayout, pixelsToFloats, type PixelLayout } from './feeds.js';
import { asFloats, isFloat } from './float-types.js';
import { checkReusedNames, moveInto, type ReusedOutputs } from './outputs.js';

type OnnxRuntime = typeof import('onnxruntime-node');

const installCommand = 'npm install --onnxruntime-node-install=skip onnxruntime-node';

async function loadOnnxRuntime(): Promise<OnnxRuntime> {
  try {
    return await import('onnxruntime-node');
  } catch (cause) {
    throw new RuntimeError('E_ENGINE_MISSING', `The engine "onnxruntime" needs the optional package onnxruntime-node; install it with: ${installCommand}`, {
      cause,
      details: { engine: 'onnxruntime', install: installCommand },
    });
  }
}

/** Version of the library; undefined where it is not installed. */
export async function onnxRuntimeVersion(): Promise<string | undefined> {
  try {
    return (await loadOnnxRuntime()).env.versions.node;
  } catch (error) {
    if (error instanceof RuntimeError) return undefined;
    throw error;
  }
}

const tensorTypes = dataTypes.filter(isTensorType);

/** Types of tensors that onnxruntime-node takes: it has none of brain floats. */
type OrtType = Exclude<DataType, 'bfloat16'>;
function isTensorType(type: DataType): type is OrtType {
  return type !== 'bfloat16';
}
const isDataType = (type: string): type is OrtType => tensorTypes.some((known) => known === type);

/** onnxruntime reports an unnamed symbolic dimension as an empty string. */
function resolveDims(shape: readonly (number | string)[], symbols: Readonly<Record<string, number>>): number[] {
  return shape.map((dim) => (typeof dim === 'number' ? dim : (symbols[dim] ?? 1)));
}

/** Values of the symbols that the options give. onnxruntime reports unnamed dimensions as empty strings. */
function chosenSymbols(session: InferenceSession, options: SessionOptions): Record<string, number> {
  const inputs = session.inputMetadata.map((value) => ({ name: value.name, dims: value.isTensor ? value.shape.map((dim) => (dim === '' ? undefined : dim)) : [] }));
  return bindSymbols(inputs, options);
}

function describeValues(values: readonly InferenceSession.ValueMetadata[], symbols: Readonly<Record<string, number>>, shapes: SessionOptions['shapes'] = {}): TensorInfo[] {
  return values.map((value) => {
    const type = value.isTensor ? value.type : 'no tensor';
    if (!value.isTensor || !isDataType(type)) {
      throw new RuntimeError('E_MODEL_OP', `Expected ${tensorTypes.join(', ')} for the type of "${value.name}" but received ${type}`, {
        details: { value: value.name, type },
      });
    }
    return { name: value.name, type, dims: [...(shapes[value.name] ?? resolveDims(value.shape, symbols))] };
  });
}

/** onnxruntime gives its errors no code of their own, only a status name inside the message. */
function modelError(cause: unknown): RuntimeError {
  const message = cause instanceof Error ? cause.message : String(cause);
  const unsupported = /NOT_IMPLEMENTED|not a registered function\/op|Could not find an implementation/i.test(message);
  return new RuntimeError(unsupported ? 'E_MODEL_OP' : 'E_MODEL_MALFORMED', `onnxruntime refuses the model: ${message}`, { cause });
}

class OnnxRuntimeSession implements Session {
  readonly inputs: readonly TensorInfo[];
  readonly #modelInputs: readonly TensorInfo[];
  readonly #pixels = new Map<string, PixelLayout>();
  #closed: Promise<void> | undefined;
  readonly #runtime: OnnxRuntime;
  readonly #session: InferenceSession;

  constructor(
    runtime: OnnxRuntime,
    session: InferenceSession,
    options: SessionOptions,
    readonly outputs: readonly TensorInfo[],
    readonly stats: SessionStats,
  ) {
    this.#runtime = runtime;
    this.#session = session;
    this.#modelInputs = describeValues(session.inputMetadata, chosenSymbols(session, options), options.shapes);
    for (const name of Object.keys(options.pixels ?? {})) {
      if (this.#modelInputs.some((info) => info.name === name)) continue;
      throw new RuntimeError('E_INPUT', `Expected the name of an input for "pixels" but received "${name}"`, { details: { input: name } });
    }
    this.inputs = this.#modelInputs.map((info) => {
      const pixels = options.pixels?.[info.name];
      if (pixels === undefined) return info;
      // Pixels become float32 first, whatever type of floats the model wants.
      const layout = pixelLayout(isFloat(info.type) ? { ...info, type: 'float32' } : info, pixels);
      this.#pixels.set(info.name, layout);
      return { name: info.name, type: 'uint8', dims: [1, layout.height, layout.width, layout.channels] };
    });
  }

  async run(feeds: Readonly<Record<string, Tensor>>, reused: ReusedOutputs = {}): Promise<Record<string, Tensor>> {
    if (this.#closed !== undefined) throw new RuntimeError('E_INPUT', 'The session is closed');
    checkReusedNames(this.outputs, reused);
    const ordered = orderFeeds(this.inputs, feeds);
    const given: Record<string, OrtTensor> = {};
    ordered.forEach((feed, index) => {
      const info = this.#modelInputs[index];
      if (info !== undefined) given[info.name] = this.#toOrt(info, feed);
    });
    let results: InferenceSession.OnnxValueMapType;
    try {
      results = await this.#session.run(given);
    } catch (cause) {
      throw new RuntimeError('E_MODEL_SHAPE', `onnxruntime failed to run the model: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
    return Object.fromEntries(this.outputs.map((info) => [info.name, moveInto(reused[info.name], fromOrt(info, results[info.name]))]));
  }

  #toOrt(info: TensorInfo, feed: Tensor): OrtTensor {
    const layout = this.#pixels.get(info.name);
    const pixels = layout !== undefined && feed.data instanceof Uint8Array ? pixelsToFloats(layout, feed.data) : undefined;
    const { data } = pixels === undefined ? feed : asFloats({ type: 'float32', dims: info.dims, data: pixels }, info.type);
    if (!isDataType(info.type)) throw new RuntimeError('E_INPUT', `onnxruntime takes no tensors of type ${info.type}`, { details: { input: info.name } });
    return new this.#runtime.Tensor(info.type, data, [...info.dims]);
  }

  close(): Promise<void> {
    this.#closed ??= this.#session.release();
    return this.#closed;
  }
}

function fromOrt(info: TensorInfo, value: OrtTensor | undefined): Tensor {
  const given: unknown = value?.data;
  // Where Node.js has Float16Array, the library gives one.
  const data = info.type === 'float16' && ArrayBuffer.isView(given) ? new Uint16Array(given.buffer, given.byteOffset, given.byteLength / 2) : value?.data;
  if (
    value !== undefined &&
    (data instanceof Float32Array || data instanceof Uint8Array || data instanceof Int8Array || data instanceof Int32Array || data instanceof BigInt64Array || data instanceof Uint16Array || data instanceof Float64Array || data instanceof Uint32Array || data instanceof BigUint64Array)
  ) {
    return { type: info.type, dims: value.dims, data };
  }
  throw new RuntimeError('E_MODEL_OP', `onnxruntime returned no usable tensor for output "${info.name}"`, { details: { value: info.name } });
}

/** Whether a model multiplies bytes, by the names of its operators: only then is the precise mode at issue, which fails for some models whose weights alone are bytes. */
function multipliesBytes(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return ['QuantizeLinear', 'QLinear', 'MatMulInteger', 'ConvInteger'].some((name) => text.includes(name));
}

/** A session of the library that gives right numbers on every CPU; without `optimize` it runs the graph as it is. @throws what the library throws */
export async function createSession(runtime: OnnxRuntime, bytes: Uint8Array, { threads, optimize }: { threads: number; optimize: boolean }): Promise<InferenceSession> {
  // Its threads spin while it runs, and would go on for milliseconds afterwards, on a core that another session then lacks.
  const session = { force_spinning_stop: '1' };
  const options: InferenceSession.SessionOptions = {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: optimize ? 'all' : 'disabled',
    executionMode: 'sequential',
    logSeverityLevel: 3, // errors only: the warnings are about the exporter's style, hundreds of lines for some models
    extra: { session },
  };
  if (!multipliesBytes(bytes)) return runtime.InferenceSession.create(bytes, options);
  try {
    // Without VNNI it multiplies uint8 by int8 in sums of 16 bits, which saturate: 57 steps off in a 1x1 convolution. This widens them there.
    // What it refuses is thrown, so it need not be printed, too.
    return await runtime.InferenceSession.create(bytes, { ...options, logSeverityLevel: 4, extra: { session: { ...session, x64quantprecision: '1' } } });
  } catch (error) {
    // Its widening fails where two operators share their weights. At the basic level it computes such models in floats: right, and slower.
    if (!(error instanceof Error && error.message.includes('Attempt to replace the existing tensor'))) throw error;
    return runtime.InferenceSession.create(bytes, { ...options, graphOptimizationLevel: 'basic' });
  }
}

/**
 * Opens an ONNX model with onnxruntime-node: the second engine, for models with an operator that the native one lacks, and the
 * oracle of the tests. Its `run` blocks the event loop (the binding calls into the library synchronously).
 * @throws RuntimeError E_ENGINE_MISSING, E_MODEL_MALFORMED, E_MODEL_OP, E_INPUT (`pixels` that do not fit an input)
 */
export async function openOnnxRuntime(bytes: Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const runtime = await loadOnnxRuntime();
  const threads = options.threads ?? 1;
  const started = performance.now();
  let session: InferenceSession;
  try {
    session = await createSession(runtime, bytes, { threads, optimize: true });
  } catch (cause) {
    throw modelError(cause);
  }
  try {
    const loadMs = performance.now() - started;
    const outputs = describeValues(session.outputMetadata, chosenSymbols(session, options));
    return new OnnxRuntimeSession(runtime, session, options, outputs, { engine: 'onnxruntime', threads, loadMs });
  } catch (error) {
    await session.release();
    throw error;
  }
}
