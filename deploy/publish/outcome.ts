import type { DeviceAddress, PipelineReport } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { KnownPipeline } from './devices.js';

/** How a deployment ended on a device. `superseded`: somebody asked it to run something else meanwhile. */
export interface Outcome {
  address: DeviceAddress;
  state: 'committed' | 'rejected' | 'rolled_back' | 'superseded';
  reported: PipelineReport;
  /** Why the device did not take it. */
  error: { code: string; message: string } | null;
}

/** States in which a package was refused. */
const REFUSED = ['rejected', 'rolled_back'] as const;

/** The final state of this deployment, or null while it is under way or another one is reported. */
export function endOf(reported: PipelineReport, digest: string, generation: number): Outcome['state'] | null {
  if (reported.refused?.generation === generation) return 'rejected';
  const seen = reported.generation_seen ?? -1;
  if (seen < generation) return null;
  if (reported.slots.active?.digest === digest && (reported.generation_applied ?? -1) >= generation) return 'committed';
  const { state, package: candidate } = reported.ota;
  if (candidate?.digest !== digest) return seen > generation ? 'superseded' : null;
  return REFUSED.find((refused) => refused === state) ?? null;
}

/** What the device says against this generation, or against its package. */
export function errorOf({ refused, ota }: PipelineReport, generation: number): Outcome['error'] {
  return refused?.generation === generation ? { code: refused.code, message: refused.message } : ota.error;
}

/** The same, with what the broker retains: a device that is away is superseded, too, when another publisher asks for something else. */
export function outcomeOf({ reported, desired }: KnownPipeline, digest: string, generation: number): Outcome['state'] | null {
  const end = reported === null ? null : endOf(reported, digest, generation);
  if (end !== null) return end;
  return desired !== null && desired.generation > generation && desired.package?.digest !== digest ? 'superseded' : null;
}

export function timedOut(device: string, { status, reported }: KnownPipeline, timeoutMs: number): DeployError {
  const away = status !== null && status.state !== 'online' ? `it is ${status.state}` : null;
  const what = away ?? (reported === null ? 'it has not reported to this broker' : `its update is ${reported.ota.state}${reported.ota.error === null ? '' : ` (${reported.ota.error.code})`}`);
  return new DeployError('E_DEVICE_TIMEOUT', `${device} did not finish within ${Math.round(timeoutMs / 1000)} s: ${what}`, { details: { device, state: reported?.ota.state ?? null } });
}
