import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { DeployError } from '../errors.js';

/** Everything that a run needs to go on with the same bits. */
export interface Checkpoint {
  /** Steps that have been made. */
  readonly step: number;
  /** Hash of what the run was asked to do: another run cannot go on from here. */
  readonly run: string;
  /** Weights, statistics, averages and the optimizer's state. */
  readonly arrays: ReadonlyMap<string, Float32Array>;
  /** Loss of each step so far. */
  readonly losses: readonly number[];
}

const magic = 'STERNALB';

interface Header {
  step: number;
  run: string;
  losses: number[];
  arrays: { name: string; length: number }[];
}

/** Replaces the file in one step: after a kill at any moment there is the old checkpoint or the new one. */
export async function writeCheckpoint(path: string, { step, run, arrays, losses }: Checkpoint): Promise<void> {
  const header: Header = { step, run, losses: [...losses], arrays: [...arrays].map(([name, { length }]) => ({ name, length })) };
  const text = Buffer.from(JSON.stringify(header));
  const parts = [Buffer.from(magic), Buffer.from(Uint32Array.of(text.length).buffer), text, ...[...arrays.values()].map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))];
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  await writeFileAtomic(path, [...parts, hash.digest()], 0o644);
}

/** @throws DeployError E_LAB for a file that is damaged, or that belongs to another run; undefined where there is none */
export async function readCheckpoint(path: string, run: string): Promise<Checkpoint | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DeployError('E_LAB', `Checkpoint ${path} cannot be read: ${String(cause)}`, { cause, details: { path } });
  }
  const refuse = (problem: string): DeployError => new DeployError('E_LAB', `Checkpoint ${path} ${problem}; delete it to begin anew`, { details: { path } });
  const body = bytes.subarray(0, Math.max(0, bytes.length - 32));
  if (body.toString('latin1', 0, magic.length) !== magic || !createHash('sha256').update(body).digest().equals(bytes.subarray(body.length))) throw refuse('is damaged');
  const size = body.readUInt32LE(magic.length);
  const header = JSON.parse(body.toString('utf8', magic.length + 4, magic.length + 4 + size)) as Header;
  if (header.run !== run) throw refuse('belongs to a run of another configuration, model, teacher or data');
  let at = magic.length + 4 + size;
  const arrays = new Map(header.arrays.map(({ name, length }) => {
    const data = new Float32Array(length);
    Buffer.from(data.buffer).set(body.subarray(at, at + 4 * length));
    at += 4 * length;
    return [name, data] as const;
  }));
  return { step: header.step, run: header.run, arrays, losses: header.losses };
}
