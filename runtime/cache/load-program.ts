/** Programs through the cache: loaded from there when they are there, compiled and kept when not. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { addonBuild, describeCpu, KernelError, loadProgram, loadProgramFile, type KernelErrorCode, type LoadOptions, type NativeProgram } from '../../kernels/binding/index.js';
import { RuntimeError } from '../errors.js';
import { compileApart } from '../lower/compile-apart.js';
import type { CompileOptions } from '../lower/compile.js';
import { nameOp } from '../lower/name-op.js';
import { withRegions } from '../incremental/load.js';
import type { ProgramCache } from '../session-types.js';
import { runtimeVersion } from '../version.js';
import type { ProgramDescription } from './format.js';
import { programKey } from './key.js';
import { closeProgram, ProgramStore } from './store.js';

const defaultMaximumBytes = 256 * 1024 * 1024;

export interface ProgramRequest {
  readonly model: Uint8Array;
  /** Of the model, when it is known already. */
  readonly sha256?: string | undefined;
  readonly compile: CompileOptions;
  readonly load: LoadOptions;
  readonly cache: ProgramCache;
}

export interface LoadedProgram {
  readonly description: ProgramDescription;
  readonly native: NativeProgram;
  readonly cached: boolean;
}

/** What tells two builds of one version apart: the addon, and in a checkout the compiled TypeScript. */
function builds(): string[] {
  const typescript = statSync(new URL('../../.tsbuildinfo', import.meta.url), { throwIfNoEntry: false });
  return [addonBuild(), typescript === undefined ? 'installed' : `${typescript.size} ${typescript.mtimeMs}`];
}

function keyOf({ model, sha256, compile, load }: ProgramRequest): string {
  const cpu = describeCpu();
  return programKey({
    model: sha256 ?? createHash('sha256').update(model).digest('hex'),
    runtime: { version: runtimeVersion, build: builds() },
    cpu: { isas: cpu.isas.filter(({ runnable }) => runnable).map(({ isa }) => isa), isa: load.isa ?? cpu.selected },
    compile,
    threads: load.threads ?? 1,
  });
}

/** Refusals of a program that a compiler of this very build would not have written. */
const damageCodes: readonly KernelErrorCode[] = ['E_PROGRAM_FILE', 'E_PROGRAM_MALFORMED', 'E_PROGRAM_VERSION', 'E_PROGRAM_OP', 'E_PROGRAM_SHAPE'];

/**
 * The program of a key from its file; undefined when there is none.
 * @throws RuntimeError E_CACHE_DAMAGED, E_CACHE_UNUSABLE; KernelError E_OUT_OF_MEMORY, E_PROGRAM_LIMIT, E_ISA, E_ARGUMENT
 */
function fromStore(store: ProgramStore, key: string, load: LoadOptions): Omit<LoadedProgram, 'cached'> | undefined {
  const program = store.open(key);
  if (program === undefined) return undefined;
  const { fd, layout, description } = program;
  try {
    const place = { fd, offset: layout.programOffset, bytes: layout.programBytes, checksum: layout.checksum };
    return { description, native: loadProgramFile(place, withRegions(load, description)) };
  } catch (error) {
    if (!(error instanceof KernelError) || !damageCodes.includes(error.code)) throw error;
    throw store.damaged(key, error.message, error);
  } finally {
    closeProgram(program);
  }
}

/**
 * Loads a model's program from the cache; compiles it and keeps it when it is not there, or not sound. Trouble with the cache is told to
 * `cache.onWarning` and costs time only.
 * @throws RuntimeError E_MODEL_*, E_INPUT; KernelError E_NATIVE_MISSING, E_ISA, E_OUT_OF_MEMORY, E_PROGRAM_LIMIT
 */
export async function loadThroughCache(request: ProgramRequest): Promise<LoadedProgram> {
  const { model, compile, load, cache } = request;
  const store = new ProgramStore(cache.dir, cache.maxBytes ?? defaultMaximumBytes);
  const key = keyOf(request);
  const attempt = async <T>(action: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof RuntimeError) || !error.code.startsWith('E_CACHE')) throw error;
      cache.onWarning?.(error);
      return undefined;
    }
  };
  const found = await attempt(() => fromStore(store, key, load));
  if (found !== undefined) return { ...found, cached: true };
  const { inputs, outputs, split, opNames, regions, open, bytes, packed } = await compileApart(model, { ...compile, pack: load });
  const description = { inputs, outputs, opNames, ...(split === undefined ? {} : { split }), ...(regions === undefined ? {} : { regions }), ...(open === undefined ? {} : { open }) };
  // From the file again: its pages can be shared with other processes, and dropped when memory is short.
  const kept = packed ? await attempt(() => keepAndOpen(store, key, description, bytes, load)) : undefined;
  return kept !== undefined ? { ...kept, cached: false } : { description, native: nameOp(description, () => loadProgram(bytes, withRegions(load, description))), cached: false };
}

async function keepAndOpen(store: ProgramStore, key: string, description: ProgramDescription, bytes: Uint8Array, load: LoadOptions): Promise<Omit<LoadedProgram, 'cached'> | undefined> {
  await store.keep(key, description, bytes);
  return fromStore(store, key, load);
}
