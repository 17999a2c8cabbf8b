import { prepareThread } from './lower/compile-thread.js';
import { loadModelBytes } from './model-file.js';
import { defaultLimits, type ModelLimits } from './onnx/types.js';
import { withFloats } from './engines/float-types.js';
import { declaredFloats } from './onnx/declared-floats.js';
import { checkIncremental } from './incremental/options.js';
import { aBoolean, aFunction, aNumber, anObject, aString, aSwitch, checkOptions, oneOf, type OptionKinds } from './options.js';
import { engineNames, type PixelInput, type ProgramCache, type Session, type SessionOptions } from './session-types.js';

export type { Session, SessionOptions, SessionStats, EngineName, PixelInput, ProgramCache, LayerProfile } from './session-types.js';

const pixelKinds: OptionKinds<Required<PixelInput>> = { mean: anObject, std: anObject };
const cacheKinds: OptionKinds<Required<ProgramCache>> = { dir: aString, maxBytes: aNumber, onWarning: aFunction };
const limitKinds = Object.fromEntries(Object.keys(defaultLimits).map((name) => [name, aNumber])) as OptionKinds<ModelLimits>;

/** Options of whatever compiles a model: `inspectModel` and `compile` take some of them too. */
export const sessionOptionKinds: OptionKinds<Required<SessionOptions>> = {
  engine: oneOf(engineNames), threads: aNumber, affinity: aString, isa: aString, pixels: anObject, symbols: anObject, shapes: anObject, split: aString, background: aBoolean,
  floats: oneOf(['declared', 'float32']), strips: aBoolean, incremental: aSwitch,
  memoryLimitBytes: aNumber, maxBlockingMs: aNumber, cache: anObject, modelSha256: aString, limits: anObject,
};

/** Of every stage of a pipeline. */
export const engineOptionKinds = (({ engine, threads, affinity, isa, cache }) => ({ engine, threads, affinity, isa, cache }))(sessionOptionKinds);

/** The options that hold options. @throws RuntimeError E_OPTION */
export function checkNested(where: string, { pixels, cache, limits, incremental }: Pick<SessionOptions, 'pixels' | 'cache' | 'limits' | 'incremental'>): void {
  checkIncremental(where, incremental);
  for (const [input, given] of Object.entries(pixels ?? {})) checkOptions(`pixels.${input} of ${where}`, given, pixelKinds);
  if (cache !== undefined) checkOptions(`cache of ${where}`, cache, cacheKinds);
  if (limits !== undefined) checkOptions(`limits of ${where}`, limits, limitKinds);
}

/**
 * Opens an ONNX model (bytes or a path).
 * @throws RuntimeError E_MODEL_FILE for a file that is missing or no model, E_OPTION for an unknown option, E_MODEL_* for a model that cannot run, E_ENGINE_MISSING
 */
export async function createSession(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
  checkOptions('createSession', options, sessionOptionKinds);
  checkNested('createSession', options);
  const native = options.engine !== 'onnxruntime';
  // What takes a while goes on beside each other: the thread starts, the engine's modules are loaded, the file is read. Programs from a cache need no thread.
  const prepare = native && options.cache === undefined ? prepareThread : () => undefined;
  if (model instanceof Uint8Array) prepare(model.length);
  const loading = loadModelBytes(model, options.limits?.fileBytes, { shared: native, onSize: prepare });
  const engine = native ? import('./engines/native.js').then(({ openNative }) => openNative) : import('./engines/onnxruntime.js').then(({ openOnnxRuntime }) => openOnnxRuntime);
  const [bytes, session] = await Promise.all([loading, engine]);
  return withFloats(await session(bytes, options), options.floats === 'float32' ? 'float32' : declaredFloats(bytes));
}
