import { open, readdir, realpath, type FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { RuntimeError } from './errors.js';
import { describeNoModel } from './foreign-bytes.js';
import { inlineExternalData } from './onnx/external-data.js';
import { defaultLimits } from './onnx/types.js';

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
const isCode = (cause: unknown, code: string): boolean => cause instanceof Error && 'code' in cause && cause.code === code;

/** Names of models in a folder, for a message. */
async function modelsIn(folder: string): Promise<string> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.onnx')).sort();
  return names.length === 0 ? '' : ` (it holds ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''})`;
}

/** The contents of a file of a known size, where threads can share them. */
async function readShared(file: FileHandle, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(new SharedArrayBuffer(size));
  let length = 0;
  while (length < size) {
    const { bytesRead } = await file.read(bytes, length, size - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

export interface ReadOptions {
  /** Reads a file into memory that threads can share. Default false. */
  readonly shared?: boolean;
  /** Told the size of a file before it is read. */
  readonly onSize?: (bytes: number) => void;
}

async function readModelFile(path: string, fileBytes: number, { shared = false, onSize }: ReadOptions): Promise<Uint8Array> {
  const problem = (what: string, cause?: unknown) => new RuntimeError('E_MODEL_FILE', `The model ${path} ${what}`, { cause, details: { path } });
  const file = await open(path).catch((cause: unknown) => {
    throw isCode(cause, 'ENOENT') ? problem(`was not found: there is no file ${resolve(path)}`, cause) : problem(`cannot be opened: ${reasonOf(cause)}`, cause);
  });
  try {
    const stat = await file.stat();
    if (stat.isDirectory()) throw problem(`is a folder: expected the path of an .onnx file${await modelsIn(path)}`);
    if (stat.size > fileBytes) {
      throw new RuntimeError('E_MODEL_LIMIT', `Expected at most ${fileBytes} bytes of model file but ${path} has ${stat.size}; \`limits.fileBytes\` allows more`, { details: { path } });
    }
    onSize?.(stat.size);
    return await (shared && stat.isFile() ? readShared(file, stat.size) : file.readFile()).catch((cause: unknown) => { throw problem(`cannot be read: ${reasonOf(cause)}`, cause); });
  } finally {
    await file.close();
  }
}

/**
 * A model with what it keeps in files beside it. Only regular files below the model's folder are read, links included, and all together may have
 * `fileBytes`.
 */
async function withExternalData(bytes: Uint8Array, path: string, fileBytes: number): Promise<Uint8Array> {
  const folder = dirname(path);
  let total = bytes.length;
  return inlineExternalData(bytes, fileBytes, async ({ tensor, location, offset, length }) => {
    const problem = (what: string, cause?: unknown) => new RuntimeError('E_MODEL_FILE', `Tensor '${tensor}' of the model ${path} has its data in '${location}', which ${what}`, { cause, details: { path, initializer: tensor, location } });
    if (isAbsolute(location) || location.split(/[\\/]/).includes('..')) throw problem('is outside the folder of the model: only files below it are read');
    const place = await realpath(join(folder, location)).catch((cause: unknown) => { throw problem(isCode(cause, 'ENOENT') ? 'is missing: keep the files of a model together' : `cannot be opened: ${reasonOf(cause)}`, cause); });
    const inside = relative(await realpath(folder), place);
    if (inside.startsWith('..') || isAbsolute(inside)) throw problem('leads outside the folder of the model: only files below it are read');
    const file = await open(place).catch((cause: unknown) => { throw problem(`cannot be opened: ${reasonOf(cause)}`, cause); });
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw problem('is no regular file');
      const count = length ?? stat.size - offset;
      if (count < 0 || offset + count > stat.size) throw problem(`has ${stat.size} bytes, but ${count} from ${offset} on are wanted`);
      total += count;
      if (total > fileBytes) throw new RuntimeError('E_MODEL_LIMIT', `Expected at most ${fileBytes} bytes of model files but ${path} and '${location}' have more; \`limits.fileBytes\` allows more`, { details: { path } });
      const data = new Uint8Array(count);
      const { bytesRead } = await file.read(data, 0, count, offset);
      if (bytesRead !== count) throw problem(`ended after ${bytesRead} of ${count} bytes`);
      return data;
    } finally {
      await file.close();
    }
  });
}

/**
 * The bytes of a model file, those of the files beside it included in which it keeps data.
 * @throws RuntimeError E_MODEL_FILE, E_MODEL_LIMIT, E_MODEL_MALFORMED
 */
export async function withFilesBeside(bytes: Uint8Array, path: string, fileBytes = defaultLimits.fileBytes): Promise<Uint8Array> {
  return describeNoModel(bytes) === undefined ? withExternalData(bytes, path, fileBytes) : bytes;
}

/**
 * The bytes of a model that is given as bytes or as a path, and not obviously something else.
 * @throws RuntimeError E_MODEL_FILE for a missing file, a folder, an empty file, a Git LFS pointer and the like, E_MODEL_MALFORMED for such bytes; E_MODEL_LIMIT;
 *   E_OPTION for any other value
 */
export async function loadModelBytes(model: Uint8Array | string, fileBytes = defaultLimits.fileBytes, reading: ReadOptions = {}): Promise<Uint8Array> {
  const given: unknown = model;
  if (typeof given !== 'string' && !(given instanceof Uint8Array)) {
    const received = given === null ? 'null' : typeof given === 'object' ? given.constructor?.name : typeof given;
    throw new RuntimeError('E_OPTION', `Expected a path or a Uint8Array for the model but received ${received}`, { details: { received } });
  }
  const bytes = typeof given === 'string' ? await readModelFile(given, fileBytes, reading) : given;
  const foreign = describeNoModel(bytes);
  if (foreign === undefined) return typeof given === 'string' ? withExternalData(bytes, given, fileBytes) : bytes;
  if (typeof given === 'string') throw new RuntimeError('E_MODEL_FILE', `The model ${given} is not an ONNX file: ${foreign}`, { details: { path: given } });
  throw new RuntimeError('E_MODEL_MALFORMED', `The bytes are not an ONNX model: ${foreign}`);
}
