/** What goes to the thread that compiles, and what comes back. */
import type { LoadOptions } from '../../kernels/binding/index.js';
import type { Graph } from '../graph/graph.js';
import type { CompiledProgram, CompileOptions } from './compile.js';

/** A program without the graph that it came from, so that nothing keeps the graph's constants in memory. */
export interface CompiledModel extends Omit<CompiledProgram, 'graph' | 'opNodes'> {
  /** Its weights are packed as `ApartOptions` say. */
  readonly packed: boolean;
}

export interface ApartOptions extends CompileOptions {
  /** Packs the weights for these kernels and threads too. A program that they do not take is given back plain: loading it says why. */
  pack?: LoadOptions;
}

/** What the worker thread is asked. */
export interface CompileRequest {
  readonly source: Uint8Array | Graph;
  readonly options: ApartOptions;
}

/** What the worker thread answers. Errors lose their class on the way, so they travel as their parts. */
export type CompileAnswer =
  | { readonly model: CompiledModel }
  | { readonly error: { readonly code: string | undefined; readonly message: string; readonly details: Readonly<Record<string, unknown>> } };
