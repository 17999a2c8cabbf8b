import type { Event } from '../../agent/contracts/index.js';
import type { DeviceRecord } from './store.js';

/** `good`: connected, runs a model, and reports nothing wrong. `unknown`: nothing current is known. */
export type HealthLevel = 'good' | 'warning' | 'bad' | 'unknown';

export interface Alarm {
  level: 'warning' | 'bad';
  /** camera, pipeline, ota, ... of the device's faults; device, model for what follows from its state. */
  component: string;
  code: string;
  /** A few words for a table or a pill. */
  title: string;
  message: string;
}

export interface Health {
  level: HealthLevel;
  alarms: Alarm[];
}

/** Without these the device does not do its work. */
const VITAL: ReadonlySet<string> = new Set(['camera', 'pipeline']);
const TITLES: Readonly<Record<string, string>> = {
  E_CAMERA_LOST: 'camera lost', E_PIPELINE: 'pipeline fails', E_DISK_FULL: 'disk full', E_STATE_READ_ONLY: 'disk read-only', E_OTA_GENERATION: 'generation refused', E_GALLERY_SPACE: 'people must be enrolled again',
};

/**
 * Whether a device does its work, by what it says itself. `events` (newest first) tell the faults of agents whose report does not list them.
 * `connected`: whether this side hears the broker; if not, nothing that is known is current.
 */
export function healthOf(record: Pick<DeviceRecord, 'status' | 'reported'>, events: readonly Event[], connected: boolean): Health {
  const { status, reported } = record;
  if (status === null || !connected) return { level: 'unknown', alarms: [] };
  const alarms: Alarm[] = [];
  if (status.state !== 'online') alarms.push({ level: 'bad', component: 'device', code: 'E_DEVICE_OFFLINE', title: status.state, message: `The device is ${status.state}` });
  else alarms.push(...activeFaults(record, events).map(alarmOf));
  if (reported !== null && reported.slots.active === null) alarms.push({ level: 'warning', component: 'model', code: 'E_NO_MODEL', title: 'no model', message: 'No package runs on the device' });
  const failed = reported?.ota.state === 'rejected' || reported?.ota.state === 'rolled_back';
  if (reported !== null && failed) {
    const { state, package: candidate, error } = reported.ota;
    const what = state.replace('_', ' ');
    alarms.push({
      level: 'warning', component: 'model', code: error?.code ?? 'E_DEVICE_REJECTED', title: `update ${what}`,
      message: `${candidate === null ? 'The update' : `${candidate.name} ${candidate.version}`} was ${what}${error === null ? '' : `: ${error.message}`}`,
    });
  }
  const level = alarms.some((alarm) => alarm.level === 'bad') ? 'bad' : alarms.length > 0 ? 'warning' : 'good';
  return { level, alarms };
}

interface Fault { component: string; code: string; message: string }

function alarmOf({ component, code, message }: Fault): Alarm {
  return { level: VITAL.has(component) && code !== 'E_GALLERY_SPACE' ? 'bad' : 'warning', component, code, title: TITLES[code] ?? `${component} fault`, message };
}

function activeFaults({ reported, status }: Pick<DeviceRecord, 'status' | 'reported'>, events: readonly Event[]): Fault[] {
  if (reported?.faults !== undefined) return reported.faults;
  const decided = new Set<string>();
  const faults: Fault[] = [];
  for (const event of events) {
    if (event.type !== 'fault' || event.boot_id !== status?.boot_id) continue;
    const key = `${event.component}/${event.error.code}`;
    if (!decided.has(key) && !event.cleared) faults.push({ component: event.component, ...event.error });
    decided.add(key);
  }
  return faults;
}
