import { Worker } from 'node:worker_threads';
import { KernelError, kernelErrorCodes, type KernelErrorCode } from '../../kernels/binding/index.js';
import { RuntimeError, runtimeErrorCodes, type RuntimeErrorCode } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { ApartOptions, CompileAnswer, CompiledModel } from './compile-message.js';

const isRuntimeCode = (code: string): code is RuntimeErrorCode => Object.hasOwn(runtimeErrorCodes, code);
const isKernelCode = (code: string): code is KernelErrorCode => Object.hasOwn(kernelErrorCodes, code);

function unwrap(reply: CompileAnswer): CompiledModel {
  if ('model' in reply) return reply.model;
  const { code, message, details } = reply.error;
  if (code !== undefined && isRuntimeCode(code)) throw new RuntimeError(code, message, { details });
  if (code !== undefined && isKernelCode(code)) throw new KernelError(code, message, { details });
  throw new Error(message);
}

// scripts/bundle-worker.mjs makes it of compile-worker.js. Sources that a test runner transforms on the fly have no such file.
const workerFile = import.meta.url.endsWith('.js') ? new URL('./compile-worker.bundle.js', import.meta.url) : undefined;

/** Models of up to this many bytes hold no weights to speak of: starting a thread takes far longer than compiling them. */
const compiledInPlace = 16_384;

const bytesOf = (source: Uint8Array | Graph): number =>
  (source instanceof Uint8Array ? source.length : [...source.constants.values()].reduce((sum, { data }) => sum + data.byteLength, 0));

/**
 * Compiles a model, or a graph, on a thread of its own, so that frames keep flowing while the next model is prepared; what compiling
 * needed in memory goes back when the thread ends. Tiny models are compiled in place.
 * @throws RuntimeError as `compile`
 */
export async function compileApart(source: Uint8Array | Graph, options: ApartOptions): Promise<CompiledModel> {
  // The compiler is loaded here or on that thread, when it is needed: a program from the cache needs none of it.
  if (workerFile === undefined || bytesOf(source) <= compiledInPlace) return unwrap((await import('./compile-answer.js')).answer(source, options));
  const worker = new Worker(workerFile, { workerData: { source, options } });
  const reply = await new Promise<CompileAnswer>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', (error: Error & { code?: string }) => reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY'
      ? new RuntimeError('E_MODEL_LIMIT', 'Compiling the model needs more memory than a thread may have', { cause: error })
      : error));
    worker.once('exit', (code) => reject(new RuntimeError('E_MODEL_LIMIT', `The thread that compiles the model ended with code ${code} before it answered`)));
  });
  await worker.terminate();
  return unwrap(reply);
}
