import { KernelError } from '../../kernels/binding/index.js';
import { RuntimeError } from '../errors.js';
import type { CompiledProgram } from './compile.js';

/** Runs `action`; an op of the program that the engine refuses is named as the model names it. */
export function nameOp<T>(program: Pick<CompiledProgram, 'opNames'>, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const op = error instanceof KernelError ? error.details['op'] : undefined;
    const named = typeof op === 'number' ? program.opNames[op] : undefined;
    if (!(error instanceof KernelError) || named === undefined) throw error;
    throw new RuntimeError('E_MODEL_OP', `${named.op} '${named.name}': ${error.message}`, { cause: error, details: { node: named.name, op: named.op } });
  }
}
