import { open, readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { RuntimeError } from './errors.js';
import { describeNoModel } from './foreign-bytes.js';
import { defaultLimits } from './onnx/types.js';

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
const isCode = (cause: unknown, code: string): boolean => cause instanceof Error && 'code' in cause && cause.code === code;

/** Names of models in a folder, for a message. */
async function modelsIn(folder: string): Promise<string> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.onnx')).sort();
  return names.length === 0 ? '' : ` (it holds ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''})`;
}

async function readModelFile(path: string, fileBytes: number): Promise<Uint8Array> {
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
    return await file.readFile().catch((cause: unknown) => { throw problem(`cannot be read: ${reasonOf(cause)}`, cause); });
  } finally {
    await file.close();
  }
}

/**
 * The bytes of a model that is given as bytes or as a path, and not obviously something else.
 * @throws RuntimeError E_MODEL_FILE for a missing file, a folder, an empty file, a Git LFS pointer and the like, E_MODEL_MALFORMED for such bytes; E_MODEL_LIMIT;
 *   E_OPTION for any other value
 */
export async function loadModelBytes(model: Uint8Array | string, fileBytes = defaultLimits.fileBytes): Promise<Uint8Array> {
  const given: unknown = model;
  if (typeof given !== 'string' && !(given instanceof Uint8Array)) {
    const received = given === null ? 'null' : typeof given === 'object' ? given.constructor?.name : typeof given;
    throw new RuntimeError('E_OPTION', `Expected a path or a Uint8Array for the model but received ${received}`, { details: { received } });
  }
  const bytes = typeof given === 'string' ? await readModelFile(given, fileBytes) : given;
  const foreign = describeNoModel(bytes);
  if (foreign === undefined) return bytes;
  if (typeof given === 'string') throw new RuntimeError('E_MODEL_FILE', `The model ${given} is not an ONNX file: ${foreign}`, { details: { path: given } });
  throw new RuntimeError('E_MODEL_MALFORMED', `The bytes are not an ONNX model: ${foreign}`);
}
