import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { KernelError, kernelErrorCodes, type KernelErrorCode } from './errors.js';
import type { Addon } from './addon.js';

/** A place where the addon may be, or the reason why a place is not worth a look. */
export interface Candidate {
  readonly path: string;
  readonly refusal?: string;
}

let loaded: { addon: Addon; path: string } | undefined;

/** Platforms that have a package with a prebuilt addon, `sterna-kernels-<platform>`. `scripts/pack.mjs` makes them. */
const prebuiltPlatforms: readonly string[] = ['linux-x64', 'linux-arm64'];

/**
 * The addon, loaded on first use. Tried in this order: the path in `STERNA_ADDON`; the package `sterna-kernels-<platform>-<arch>`;
 * `kernels/prebuilt/<platform>-<arch>/sterna.node`; `build/native-release/sterna.node`, which is built from source.
 * @throws KernelError E_NATIVE_MISSING with every path tried, why it did not serve, and the remedy
 */
export function loadAddon(): Addon {
  if (loaded === undefined) {
    loaded = requireFirst(candidates(), remedy);
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

const platform = `${process.platform}-${process.arch}`;

/** Where the addon may be, best first. */
export function candidates(): Candidate[] {
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  const override = process.env['STERNA_ADDON'];
  return [
    ...(override ? [{ path: override }] : []),
    platformPackage(`sterna-kernels-${platform}`, readManifest(join(root, 'package.json')).version),
    { path: join(root, 'kernels', 'prebuilt', platform, 'sterna.node') },
    { path: join(root, 'build', 'native-release', 'sterna.node') },
  ];
}

/** Another version's kernels may have another format of programs. */
function platformPackage(name: string, version: string): Candidate {
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  } catch {
    return { path: name, refusal: 'the package is not installed' };
  }
  const path = join(dirname(manifest), 'sterna.node');
  const found = readManifest(manifest).version;
  return found === version ? { path } : { path, refusal: `its package has version ${found}, and this is Sterna ${version}` };
}

/** Whether this Linux has musl instead of glibc (Alpine, OpenWrt), as Node's own report says. Prebuilt addons do not load there. */
function hasMusl(): boolean {
  const report = process.report?.getReport() as { header: { glibcVersionRuntime?: string } } | undefined;
  return process.platform === 'linux' && report !== undefined && report.header.glibcVersionRuntime === undefined;
}

/** What to do where no addon loads. `musl` is for tests. */
export function remedy(musl = hasMusl()): string {
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  if (musl) return 'This system has musl (Alpine, OpenWrt), which Sterna does not support: its packages are compiled for glibc. Use Debian, Ubuntu or another system with glibc >= 2.34; as a container image, debian:bookworm-slim.';
  if (existsSync(join(root, 'package-lock.json'))) return 'Build it with `npm run build`.';
  const { version } = readManifest(join(root, 'package.json'));
  const log = join(root, 'build', 'native.log');
  const prebuilt = prebuiltPlatforms.includes(platform)
    ? `Install the prebuilt one with \`npm install sterna-kernels-${platform}@${version}\`, or build it from source`
    : `There is no prebuilt one for ${platform}: build it from source`;
  const lastBuild = existsSync(log) ? ` What the last build said is in ${log}.` : '';
  return `${prebuilt} with \`npx sterna build-native\`, which needs CMake and a C++17 compiler.${lastBuild}`;
}

/** The nearest folder above whose package.json is ours: the sources are one level below it, the compiled files two. */
function packageRoot(from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (readManifest(join(folder, 'package.json')).name === 'sterna') return folder;
    if (dirname(folder) === folder) throw new KernelError('E_NATIVE_MISSING', `Expected a package.json named "sterna" above ${from} but found none`);
  }
}

/** Name and version of a package; empty where there is none. */
function readManifest(path: string): { name: string; version: string } {
  const manifest: unknown = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  const { name, version } = manifest as { name?: unknown; version?: unknown };
  return { name: typeof name === 'string' ? name : '', version: typeof version === 'string' ? version : '' };
}

/** The first candidate that is there and loads. What to do otherwise takes long to find out. @throws KernelError E_NATIVE_MISSING */
export function requireFirst(places: readonly Candidate[], remedyText: () => string): { addon: Addon; path: string } {
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  let cause: unknown;
  for (const { path, refusal } of places) {
    const reason = refusal ?? (existsSync(path) ? undefined : 'no such file');
    if (reason !== undefined) {
      failures.push(`  ${path}: ${reason}`);
      continue;
    }
    try {
      return { addon: require(path) as Addon, path };
    } catch (error) {
      cause = error;
      failures.push(`  ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const message = `The native addon was not found. Tried:\n${failures.join('\n')}\n${remedyText()}`;
  throw new KernelError('E_NATIVE_MISSING', message, { cause, details: { paths: places.map(({ path }) => path) } });
}

/** Called by the addon, so that what it throws is a KernelError too. `op` is -1 when no op is to blame. */
function makeError(code: string, message: string, op: number): KernelError {
  return new KernelError(isKernelErrorCode(code) ? code : 'E_ARGUMENT', message, op < 0 ? {} : { details: { op } });
}

function isKernelErrorCode(code: string): code is KernelErrorCode {
  return Object.hasOwn(kernelErrorCodes, code);
}
