/** Checks the state folder (space, rights, speed) and the package in it. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { messageOf } from '../../runtime/errors.js';
import { medianOf } from '../../runtime/percentile.js';
import type { Config } from '../config/schema.js';
import { pipelineSpecs } from '../config/pipelines.js';
import { sha256OfFile } from '../ota/store.js';
import { decodePointer } from '../ota/stored-state.js';
import { pipelineFolder } from '../pipelines/device-pipeline.js';
import { checksOf, type Check } from './check.js';

const MiB = 2 ** 20;
/** If a write takes longer than this, each transaction of the journal noticeably delays the daemon. */
const SLOW_SYNC_MS = 100;
const PROBE_BYTES = 64 * 1024;
const PROBES = 5;

/** Median time of a few writes that wait for the disk, milliseconds. @throws errors of the file system */
function syncMilliseconds(folder: string): number {
  const path = join(folder, `doctor.${process.pid}`);
  const times: number[] = [];
  const file = openSync(path, 'wx', 0o600);
  try {
    for (let i = 0; i < PROBES; i++) {
      const began = performance.now();
      writeSync(file, Buffer.alloc(PROBE_BYTES, i));
      fsyncSync(file);
      times.push(performance.now() - began);
    }
  } finally {
    closeSync(file);
    rmSync(path, { force: true });
  }
  return medianOf(times) ?? 0;
}

export function checkDisk({ state_dir: folder, ota, outbox, recordings }: Config): Check[] {
  const report = checksOf('disk');
  if (!existsSync(folder)) return [report.none(`${folder} does not exist yet; the daemon makes it at its first start`)];
  let syncMs: number;
  try {
    syncMs = syncMilliseconds(folder);
  } catch (error) {
    const root = process.getuid?.() === 0;
    return [report.failed(`${folder} cannot be written: ${messageOf(error)}`, { remedy: root ? 'check that the file system is not full, mounted read-only or damaged' : 'run the command as root, or as the user of the daemon' })];
  }
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const wanted = 2 * Math.min(ota.max_package_bytes, 64 * MiB) + outbox.max_bytes + (recordings.enabled ? recordings.max_bytes : 0);
  const details = { path: folder, free_bytes: free, sync_ms: syncMs };
  const text = `${folder}: ${Math.round(free / MiB)} MiB free, a synchronous write takes ${syncMs.toFixed(1)} ms`;
  if (free < 16 * MiB) return [report.failed(text, { details, remedy: 'free some space: updates cannot be stored, and messages are kept in memory only' })];
  if (free < wanted) return [report.warning(text, { details, remedy: `packages, outbox and recordings may need ${Math.round(wanted / MiB)} MiB: free some space, or lower their limits` })];
  if (syncMs > SLOW_SYNC_MS) return [report.warning(text, { details, remedy: 'the storage is slow: updates and events take longer; use a better card' })];
  return [report.ok(text, { details })];
}

export async function checkPackages(config: Config): Promise<Check[]> {
  return Promise.all(pipelineSpecs(config).map(async ({ name }) => {
    const report = checksOf(`package ${name}`);
    const home = pipelineFolder(config.state_dir, name);
    const file = join(home, 'slots.json');
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return report.none('no package has arrived yet', { remedy: 'publish one for this device (sterna publish), or set pipeline.package' });
      return report.failed(`${file} cannot be read: ${messageOf(error)}`, { remedy: 'run the command as root, or as the user of the daemon' });
    }
    const pointer = decodePointer(text);
    if (pointer.kind !== 'sound') return report.warning(`${file} is damaged: ${pointer.kind === 'unsound' ? pointer.problem : 'it is empty'}`, { remedy: 'the daemon restores it from its journal at the next start' });
    const { active } = pointer.value;
    if (active === null) return report.none('no package is active', { remedy: 'publish one for this device (sterna publish)' });
    const details = { name: active.name, version: active.version, digest: active.digest };
    try {
      // `PackageStore.verify` is not used here, because it deletes what is damaged.
      const actual = await sha256OfFile(join(home, 'packages', `${active.digest}.sterna`));
      if (actual !== active.digest) throw new Error(`expected SHA-256 ${active.digest} but it is ${actual}`);
      return report.ok(`${active.name} ${active.version}, ${(active.size_bytes / MiB).toFixed(1)} MiB, has the right SHA-256`, { details });
    } catch (error) {
      return report.failed(`${active.name} ${active.version} is damaged: ${messageOf(error)}`, { details, remedy: 'the daemon goes back to the previous package at its next start; publish this one again' });
    }
  }));
}
