import { setTimeout as sleep } from 'node:timers/promises';
import { DeployError } from '../errors.js';
import type { Publisher } from './publisher.js';

/** Retained messages arrive at once after subscribing, but nothing says which was the last. */
const DISCOVERY_MS = 1500;
/** A named device is waited for somewhat longer before it counts as unknown. */
const UNKNOWN_MS = 4000;
const LOOK_MS = 50;

/**
 * The devices that a command addresses: those named, or (null) all that the broker knows. A device that never reported is a misspelt one.
 * @throws DeployError E_DEVICE_UNKNOWN
 */
export async function wantedDevices(
  known: Pick<Publisher, 'devices' | 'pipelines'>, { fleet, names, signal }: { fleet: string; names: readonly string[] | null; signal: AbortSignal },
): Promise<string[]> {
  const started = performance.now();
  const wanted = names === null ? null : [...new Set(names)];
  const missing = (): string[] => (wanted ?? []).filter((name) => !known.devices().includes(name));
  // The report as well, where there is one: the next generation must exceed the one that the device has seen.
  const reported = (): boolean => (wanted ?? []).every((name) => known.pipelines(name).length > 0);
  const settled = (): boolean => performance.now() - started >= DISCOVERY_MS;
  const done = (): boolean => (wanted === null ? settled() : missing().length === 0 && (reported() || settled()));
  while (!done() && performance.now() - started < UNKNOWN_MS) await sleep(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  const others = known.devices();
  const list = others.length === 0 ? `no device of fleet ${fleet} has` : `of fleet ${fleet} these have: ${others.slice(0, 20).join(', ')}${others.length > 20 ? `, and ${others.length - 20} more` : ''}`;
  if (wanted === null && others.length === 0) throw new DeployError('E_DEVICE_UNKNOWN', `No device of fleet ${fleet} has reported to this broker`, { details: { fleet } });
  const unknown = missing();
  if (unknown.length > 0) throw new DeployError('E_DEVICE_UNKNOWN', `${unknown.join(', ')} never reported to this broker; ${list}`, { details: { fleet, unknown, known: others } });
  return wanted ?? others;
}
