import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { z } from 'zod';
import { writeFileAtomic } from '../atomic-file.js';
import { RuntimeError } from '../errors.js';
import { describeMisfetched } from '../foreign-bytes.js';
import { parsePipeline } from '../kinds/registry.js';
import { packagePath } from '../stages/contract.js';
import type { PipelineDescription } from '../stages/contract.js';
import { compareVersions, runtimeVersion } from '../version.js';
import { archiveLimits, readArchive, writeArchive } from './archive.js';
import type { ArchiveEntry } from './archive.js';
import { deflate, inflate } from './deflate.js';
import { MANIFEST_VERSION, manifestInputSchema, manifestSchema, referencedPaths } from './manifest.js';
import type { GoldenVector, ManifestInput, PackageFile, PackageManifest } from './manifest.js';

export const manifestPath = 'manifest.json';

/** A JSON manifest of 128 files with 64 golden vectors stays far below this. */
const maxManifestBytes = 1 << 20;

/** An opened package: every file's hash is checked. The bytes stay in memory as long as this object does. */
export interface ModelPackage {
  readonly manifest: PackageManifest;
  /** SHA-256 of the whole archive, lower-case hexadecimal. */
  readonly sha256: string;
  /** Size of the archive. */
  readonly bytes: number;
  /** @throws RuntimeError E_PACKAGE when the package has no such file */
  file(path: string): Uint8Array;
}

/** A package as bytes, with its hash, as a publisher sends it. */
export interface WrittenPackage {
  manifest: PackageManifest;
  bytes: Uint8Array;
  sha256: string;
}

/**
 * Builds a package from a manifest and its files. The order is fixed (manifest, then paths sorted by code unit), so equal
 * content gives equal bytes with the same zlib: another version of Node may deflate the same content to other bytes.
 * @throws RuntimeError E_PACKAGE when the manifest is invalid, names a file that is not given, or a file is not named
 */
export async function buildPackage(input: ManifestInput, files: Readonly<Record<string, Uint8Array>>): Promise<WrittenPackage> {
  const stated = checkInput(input, files);
  const paths = Object.keys(files).sort();
  const stored = paths.map((path) => storedFile(path, files[path] ?? new Uint8Array(0)));
  const manifest: PackageManifest = { ...stated, files: stored.map(({ file }) => file) };
  const head = { path: manifestPath, data: Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`) };
  const bytes = await writeArchive([head, ...stored.map(({ file, data }) => ({ path: file.path, data }))]);
  return { manifest, bytes, sha256: digest(bytes) };
}

/** @throws RuntimeError E_PACKAGE as `buildPackage` */
function checkInput(input: ManifestInput, files: Readonly<Record<string, Uint8Array>>): z.output<typeof manifestInputSchema> {
  const stated = validate(manifestInputSchema, input, 'The manifest is invalid');
  checkPipeline(stated);
  const paths = Object.keys(files);
  for (const path of paths) {
    if (!packagePath.safeParse(path).success) throw problem(`Expected a relative path but received "${path}"`);
  }
  const missing = [...new Set(referencedPaths(stated))].filter((path) => !paths.includes(path));
  if (missing.length > 0) throw problem(`The manifest names ${missing.join(', ')}, which was not given`);
  return stated;
}

/**
 * What `openPackage` gives of `buildPackage`, without an archive in between: a pipeline to try out. The archive's hash is '', its size 0.
 * @throws RuntimeError E_PACKAGE as `buildPackage`
 */
export function unpackedPackage(input: ManifestInput, files: Readonly<Record<string, Uint8Array>>): ModelPackage {
  const lines = Object.entries(files).map(([path, data]): PackageFile => ({ path, bytes: data.length, sha256: digest(data) }));
  const manifest: PackageManifest = { ...checkInput(input, files), files: lines };
  return { manifest, sha256: '', bytes: 0, file: (path) => fileOf(manifest, new Map(Object.entries(files)), path) };
}

/** @throws RuntimeError E_PACKAGE */
function fileOf({ name, version }: PackageManifest, files: ReadonlyMap<string, Uint8Array>, path: string): Uint8Array {
  const data = files.get(path);
  if (data === undefined) throw problem(`Package ${name} ${version} has no file "${path}"`);
  return data;
}

/** A file's line in the manifest, and what the archive holds of it. */
function storedFile(path: string, data: Uint8Array): { file: PackageFile; data: Uint8Array } {
  const deflated = deflate(data);
  const file = { path, bytes: data.length, sha256: digest(data) };
  return deflated === undefined ? { file, data } : { file: { ...file, deflated_bytes: deflated.length }, data: deflated };
}

/** `buildPackage`, written atomically to a file. */
export async function writePackage(
  input: ManifestInput, files: Readonly<Record<string, Uint8Array>>, outPath: string,
): Promise<WrittenPackage> {
  const written = await buildPackage(input, files);
  await writeFileAtomic(outPath, written.bytes, 0o666);
  return written;
}

/**
 * Opens a package and checks it completely: archive form, manifest, and the hash of every file.
 * @throws RuntimeError E_PACKAGE naming the problem, E_PACKAGE_VERSION when it needs a newer runtime
 */
export async function openPackage(source: string | Uint8Array): Promise<ModelPackage> {
  const bytes = typeof source === 'string' ? await readBounded(source) : source;
  const misfetched = describeMisfetched(bytes);
  if (misfetched !== undefined) throw problem(`${typeof source === 'string' ? source : 'The package'} is not a package: ${misfetched}`);
  const entries = await readArchive(bytes);
  const manifest = parseManifest(entries[0]);
  const files = checkFiles(manifest, entries.slice(1));
  return {
    manifest,
    sha256: digest(bytes),
    bytes: bytes.length,
    file: (path) => fileOf(manifest, files, path),
  };
}

function parseManifest(entry: ArchiveEntry | undefined): PackageManifest {
  if (entry?.path !== manifestPath) throw problem(`Expected ${manifestPath} as the first file but received ${entry?.path ?? 'none'}`);
  if (entry.data.length > maxManifestBytes) throw problem(`Expected ${manifestPath} of at most ${maxManifestBytes} bytes but received ${entry.data.length}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(entry.data));
  } catch (cause) {
    throw new RuntimeError('E_PACKAGE', `${manifestPath} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  refuseOtherVersions(json);
  const manifest = validate(manifestSchema, json, `${manifestPath} is invalid`);
  checkPipeline(manifest);
  return manifest;
}

/** The kind's own rules, and that golden vectors are of stages that there are. */
function checkPipeline({ pipeline, golden, variants = [] }: Pick<PackageManifest, 'pipeline' | 'golden' | 'variants'>): void {
  parsePipeline(pipeline, variants);
  const twice = variants.find(({ name }, i) => variants.findIndex((other) => other.name === name) !== i);
  if (twice !== undefined) throw problem(`The package has two variants of the name ${twice.name}`);
  const strayOf = ({ stages }: Pick<PipelineDescription, 'stages'>, vectors: readonly GoldenVector[]): GoldenVector | undefined => vectors.find(({ stage }) => stages[stage] === undefined);
  const stray = strayOf(pipeline, golden);
  if (stray !== undefined) throw problem(`The package has golden vectors for the ${stray.stage}, which it lacks`);
  for (const variant of variants) {
    const other = strayOf(variant, variant.golden);
    if (other !== undefined) throw problem(`The variant ${variant.name} has golden vectors for the ${other.stage}, which it lacks`);
  }
}

/** Comes before the full validation: a newer package may use fields and kinds that this runtime cannot validate. */
function refuseOtherVersions(json: unknown): void {
  if (typeof json !== 'object' || json === null) return;
  const schema = 'schema_version' in json ? json.schema_version : undefined;
  const minimum = 'minimum_runtime' in json ? json.minimum_runtime : undefined;
  if (typeof schema === 'number' && schema !== MANIFEST_VERSION) {
    const remedy = schema > MANIFEST_VERSION ? 'Update Sterna.' : 'Pack its models again with `sterna package`.';
    throw new RuntimeError('E_PACKAGE_VERSION', `The package has schema version ${schema}; this runtime (${runtimeVersion}) reads ${MANIFEST_VERSION}. ${remedy}`);
  }
  if (typeof minimum === 'string' && /^\d+\.\d+\.\d+$/.test(minimum) && compareVersions(minimum, runtimeVersion) > 0) {
    throw new RuntimeError('E_PACKAGE_VERSION', `The package needs runtime ${minimum}; this is ${runtimeVersion}. Update Sterna.`);
  }
}

function checkFiles(manifest: PackageManifest, entries: readonly ArchiveEntry[]): Map<string, Uint8Array> {
  const listed = manifest.files.map((file) => file.path).join('\n');
  const found = entries.map((entry) => entry.path).join('\n');
  if (listed !== found) {
    throw problem('The files in the archive are not those in the manifest', { listed: listed.split('\n'), found: found.split('\n') });
  }
  const unpacked = manifest.files.reduce((total, { bytes }) => total + bytes, 0);
  if (unpacked > archiveLimits.bytes) throw problem(`Expected files of at most ${archiveLimits.bytes} bytes in all but the manifest states ${unpacked}`);
  const files = new Map<string, Uint8Array>();
  manifest.files.forEach((file, index) => {
    const data = fileContent(file, entries[index]?.data ?? new Uint8Array(0));
    const actual = digest(data);
    if (actual !== file.sha256) throw problem(`Expected SHA-256 ${file.sha256} for ${file.path} but received ${actual}`);
    if (files.has(file.path)) throw problem(`The file ${file.path} appears twice`);
    files.set(file.path, data);
  });
  const missing = referencedPaths(manifest).filter((path) => !files.has(path));
  if (missing.length > 0) throw problem(`The manifest names ${missing.join(', ')}, which is not in the package`);
  return files;
}

/** A file as it was packed, of exactly the stated length: a hostile stream costs no more than that. */
function fileContent({ path, bytes, deflated_bytes: deflated }: PackageFile, stored: Uint8Array): Uint8Array {
  const length = deflated ?? bytes;
  if (stored.length !== length) throw problem(`Expected ${length} bytes for ${path} but received ${stored.length}`);
  const data = deflated === undefined ? stored : inflate(stored, bytes);
  if (data === undefined) throw problem(`Expected ${bytes} bytes from the DEFLATE stream of ${path} but it is damaged or has another length`);
  return data;
}

function validate<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw problem(`${what}: ${issues.slice(0, 5).join('; ')}`, { issues });
}

async function readBounded(path: string): Promise<Uint8Array> {
  try {
    const file = await stat(path);
    if (file.isDirectory()) throw problem(`The package ${path} is a folder: expected the path of a .sterna file`);
    const { size } = file;
    if (size > archiveLimits.bytes) throw problem(`Expected at most ${archiveLimits.bytes} bytes but ${path} has ${size}`);
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof RuntimeError) throw cause;
    throw new RuntimeError('E_PACKAGE', `The package ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

function problem(message: string, details: Record<string, unknown> = {}): RuntimeError {
  return new RuntimeError('E_PACKAGE', message, { details });
}
