import { readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf } from '../../runtime/errors.js';
import { withFilesBeside } from '../../runtime/model-file.js';
import { fixValues } from '../compress/values.js';
import { DeployError } from '../errors.js';
import type { InputOptions } from './options.js';

const unreadable = (path: string, cause: unknown, code: 'E_FILE' | 'E_TLS' = 'E_FILE'): DeployError => new DeployError(code, `${path} cannot be read: ${messageOf(cause)}`, { cause, details: { path } });

/** A whole file. @throws DeployError E_FILE */
export async function readInputFile(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** A whole small file, such as a key or a password, which options name. @throws DeployError E_FILE, or the code that is given */
export function readSmallFile(path: string, code?: 'E_FILE' | 'E_TLS'): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw unreadable(path, cause, code);
  }
}

/** A model, with the data that it keeps in files beside it. @throws DeployError E_FILE; RuntimeError E_MODEL_FILE, E_MODEL_LIMIT, E_MODEL_MALFORMED */
export const readModelInput = async (path: string): Promise<Uint8Array> => withFilesBeside(await readInputFile(path), path);

/** A model whose inputs have the values that options give them. @throws as `readModelInput`; RuntimeError E_OPTION */
export const readChosenModel = async (path: string, { value, shape, symbol }: InputOptions): Promise<Uint8Array> => fixValues(await readModelInput(path), value, { shapes: shape, symbols: symbol });

/** A JSON file. @throws DeployError E_FILE, E_USAGE */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readInputFile(path);
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new DeployError('E_USAGE', `${path} is not JSON: ${messageOf(cause)}`, { cause });
  }
}

/** Where a result is written before it gets its name. */
export const partOf = (path: string): string => `${path}.${process.pid}.part`;

/** A step of writing `path`. @throws DeployError E_OUTPUT */
export async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new DeployError('E_OUTPUT', `${path} cannot be written: ${messageOf(cause)}`, { cause, details: { path } });
  }
}

/** Writes a result beside its place and renames it, so that a half-written file never bears the name. @throws DeployError E_OUTPUT */
export async function writeOutputFile(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = partOf(path);
  try {
    await writing(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(temporary, bytes);
      await rename(temporary, path);
    });
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined); // the write failed; why is what matters
    throw error;
  }
}
