import { KernelError, packProgram, type LoadOptions } from '../../kernels/binding/index.js';
import { SternaError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { ApartOptions, CompileAnswer } from './compile-message.js';
import { compile } from './compile.js';

/** The answer to a request: a program, or what is wrong with the model. */
export function answer(source: Uint8Array | Graph, { pack, ...options }: ApartOptions): CompileAnswer {
  try {
    const { graph: _graph, opNodes: _nodes, ...model } = compile(source, options);
    const packed = pack === undefined ? undefined : packedBytes(model.bytes, pack);
    return { model: { ...model, bytes: packed ?? model.bytes, packed: packed !== undefined } };
  } catch (error) {
    if (error instanceof SternaError) return { error: { code: error.code, message: error.message, details: error.details } };
    return { error: { code: undefined, message: error instanceof Error ? (error.stack ?? error.message) : String(error), details: {} } };
  }
}

function packedBytes(program: Uint8Array, pack: LoadOptions): Uint8Array | undefined {
  try {
    return packProgram(program, pack);
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}
