import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { KernelError, kernelErrorCodes, type KernelErrorCode } from './errors.js';
import type { ImageAddon } from './image.js';
import type { CpuDescription, Isa, LoadOptions, NativeProgram, PeakRate, ProgramFile } from './native.js';

/** What the addon exports; `kernels/image` states its own share. */
export interface Addon {
  setErrorFactory(factory: (code: string, message: string, op: number) => Error): void;
  describeCpu(): CpuDescription;
  measurePeaks(isa: Isa): PeakRate[];
  loadProgram(bytes: Uint8Array, options: LoadOptions): NativeProgram;
  loadProgramFile(place: ProgramFile, options: LoadOptions): NativeProgram;
  packProgram(bytes: Uint8Array, options: LoadOptions): Uint8Array;
  checksumOf(bytes: Uint8Array): bigint;
  notifySystemd(message: string): boolean;
  frugalMemory(): boolean;
  readonly image: ImageAddon;
}

let loaded: { addon: Addon; path: string } | undefined;

/**
 * The addon, loaded on first use. Tried in this order: the path in `STERNA_ADDON`; `kernels/prebuilt/<platform>-<arch>/sterna.node`;
 * `build/native-release/sterna.node`.
 * @throws KernelError E_NATIVE_MISSING with every path tried and the remedy
 */
export function loadAddon(): Addon {
  if (loaded === undefined) {
    loaded = requireFirst(candidatePaths());
    loaded.addon.setErrorFactory(makeError);
  }
  return loaded.addon;
}

/**
 * Size and time of the addon's file: another build, another text. What depends on how kernels pack weights is only good with this one.
 * @throws KernelError E_NATIVE_MISSING
 */
export function addonBuild(): string {
  loadAddon();
  const { size, mtimeMs } = statSync(loaded?.path ?? '');
  return `${size} ${mtimeMs}`;
}

/** Where the addon may be, best first. */
export function candidatePaths(): string[] {
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  const override = process.env['STERNA_ADDON'];
  return [
    ...(override ? [override] : []),
    join(root, 'kernels', 'prebuilt', `${process.platform}-${process.arch}`, 'sterna.node'),
    join(root, 'build', 'native-release', 'sterna.node'),
  ];
}

/** The nearest folder above whose package.json is ours: the sources are one level below it, the compiled files two. */
function packageRoot(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (isOurPackage(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) throw new KernelError('E_NATIVE_MISSING', `Expected a package.json named "sterna" above ${from} but found none`);
  }
}

function isOurPackage(path: string): boolean {
  if (!existsSync(path)) return false;
  const manifest: unknown = JSON.parse(readFileSync(path, 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'name' in manifest && manifest.name === 'sterna';
}

/** The first of `paths` that is there and loads. @throws KernelError E_NATIVE_MISSING */
export function requireFirst(paths: readonly string[]): { addon: Addon; path: string } {
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  let cause: unknown;
  for (const path of paths) {
    if (!existsSync(path)) {
      failures.push(`  ${path}: no such file`);
      continue;
    }
    try {
      return { addon: require(path) as Addon, path };
    } catch (error) {
      cause = error;
      failures.push(`  ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const message = `The native addon was not found. Tried:\n${failures.join('\n')}\nBuild it with \`npm run build\`.`;
  throw new KernelError('E_NATIVE_MISSING', message, { cause, details: { paths } });
}

/** Called by the addon, so that what it throws is a KernelError too. `op` is -1 when no op is to blame. */
function makeError(code: string, message: string, op: number): KernelError {
  return new KernelError(isKernelErrorCode(code) ? code : 'E_ARGUMENT', message, op < 0 ? {} : { details: { op } });
}

function isKernelErrorCode(code: string): code is KernelErrorCode {
  return Object.hasOwn(kernelErrorCodes, code);
}
