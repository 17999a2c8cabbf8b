import { KernelError, kernelErrorCodes, type KernelErrorCode } from '../../kernels/binding/index.js';
import { copyBytes } from '../../kernels/binding/memory.js';
import { RuntimeError, runtimeErrorCodes, type RuntimeErrorCode } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { ApartOptions, CompileAnswer, CompiledModel } from './compile-message.js';
import { askThread, compilesApart } from './compile-thread.js';

const isRuntimeCode = (code: string): code is RuntimeErrorCode => Object.hasOwn(runtimeErrorCodes, code);
const isKernelCode = (code: string): code is KernelErrorCode => Object.hasOwn(kernelErrorCodes, code);

function unwrap(reply: CompileAnswer): CompiledModel {
  if ('model' in reply) return reply.model;
  const { code, message, details } = reply.error;
  if (code !== undefined && isRuntimeCode(code)) throw new RuntimeError(code, message, { details });
  if (code !== undefined && isKernelCode(code)) throw new KernelError(code, message, { details });
  throw new Error(message);
}

const bytesOf = (source: Uint8Array | Graph): number =>
  (source instanceof Uint8Array ? source.length : [...source.constants.values()].reduce((sum, { data }) => sum + data.byteLength, 0));

/** The same bytes where threads can share them: posting others copies them, more than once. */
function shared(source: Uint8Array): Uint8Array {
  if (source.buffer instanceof SharedArrayBuffer) return source;
  const bytes = new Uint8Array(new SharedArrayBuffer(source.length));
  copyBytes(bytes, source);
  return bytes;
}

/**
 * Compiles a model, or a graph, on a thread of its own, so that frames keep flowing while the next model is prepared; what compiling
 * needed in memory goes back when the thread ends (`compile-thread.ts`). Tiny models are compiled in place.
 * @throws RuntimeError as `compile`
 */
export async function compileApart(source: Uint8Array | Graph, options: ApartOptions): Promise<CompiledModel> {
  // The compiler is loaded here or on that thread, when it is needed: a program from the cache needs none of it.
  if (!compilesApart(bytesOf(source))) return unwrap((await import('./compile-answer.js')).answer(source, options));
  return unwrap(await askThread({ source: source instanceof Uint8Array ? shared(source) : source, options }));
}
