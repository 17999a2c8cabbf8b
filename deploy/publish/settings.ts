import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { requireId, settingsSchema, settingsText, type PipelineReport, type Settings } from '../../agent/contracts/index.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import type { KnownPipeline } from './devices.js';
import type { Outcome } from './outcome.js';

/** Settings of a pipeline, as a file has them. */
export interface HeldSettings {
  /** The name of the file, without `.json`: releases of one name have growing counters. */
  readonly name: string;
  readonly settings: Settings;
  /** What the image repository signs, and its SHA-256. */
  readonly text: string;
  readonly digest: string;
}

/** @throws DeployError E_FILE, E_SETTINGS */
export async function loadSettings(path: string): Promise<HeldSettings> {
  const source = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new DeployError('E_FILE', `${path} cannot be read: ${messageOf(cause)}`, { cause, details: { path } });
  });
  const settings = parseSettings(path, source);
  const text = settingsText(settings);
  return { name: nameOf(path), settings, text, digest: createHash('sha256').update(text).digest('hex') };
}

function parseSettings(path: string, source: string): Settings {
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (cause) {
    throw new DeployError('E_SETTINGS', `${path} is not JSON: ${messageOf(cause)}`, { cause, details: { path } });
  }
  const parsed = settingsSchema.strict().safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.slice(0, 3).map(({ path: at, message }) => (at.length === 0 ? message : `${at.join('.')}: ${message}`));
  throw new DeployError('E_SETTINGS', `${path} has no usable settings: ${problems.join('; ')}`, { details: { path } });
}

function nameOf(path: string): string {
  return requireId('name of settings', basename(path).replace(/\.json$/, ''));
}

/** Whether an update is under way that a message without a package would end. */
export function isUpdating({ reported, desired }: KnownPipeline): boolean {
  const { ota, generation_seen: seen } = reported ?? {};
  if (ota !== undefined && !RESTING.has(ota.state)) return true;
  const ahead = desired !== null && desired.generation > (seen ?? -1) && desired.generation !== reported?.refused?.generation;
  return ahead && desired.package !== null && desired.package.digest !== reported?.slots.active?.digest;
}

const RESTING: ReadonlySet<PipelineReport['ota']['state']> = new Set(['idle', 'committed', 'rejected', 'rolled_back']);

/** What became of settings that were published with this generation; null while the device has not said. */
export function settingsOutcome({ reported, desired }: KnownPipeline, settings: Settings, generation: number): Outcome['state'] | null {
  if (reported !== null) {
    if (reported.refused?.generation === generation) return 'rejected';
    if ((reported.generation_seen ?? -1) >= generation) return settingsText(reported.settings) === settingsText(settings) ? 'committed' : 'superseded';
  }
  return desired !== null && desired.generation > generation && settingsText(desired.settings) !== settingsText(settings) ? 'superseded' : null;
}
