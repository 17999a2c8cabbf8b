import type { PipelineReport } from '../../agent/contracts/index.js';
import type { RefusedReports } from '../repository/report-guard.js';
import type { DeviceRecord } from './store.js';

/** `good`: connected, runs a model, and reports nothing wrong. `unknown`: nothing current is known. */
export type HealthLevel = 'good' | 'warning' | 'bad' | 'unknown';

export interface Alarm {
  level: 'warning' | 'bad';
  /** Null: of the whole device. */
  pipeline: string | null;
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

/** For so long a refused report is an alarm. */
const REFUSED_MS = 3_600_000;
/** Without these the device does not do its work. */
const VITAL: ReadonlySet<string> = new Set(['camera', 'pipeline']);
const TITLES: Readonly<Record<string, string>> = {
  E_CAMERA_LOST: 'camera lost', E_PIPELINE: 'pipeline fails', E_DISK_FULL: 'disk full', E_STATE_READ_ONLY: 'disk read-only', E_OTA_GENERATION: 'generation refused', E_GALLERY_SPACE: 'people must be enrolled again',
  E_REPORT_FORGED: 'forged report', E_REPORT_UNSIGNED: 'unsigned report refused', E_REPORT_REPLAYED: 'replayed report', E_REPORT_KEY: 'cannot sign its reports',
  E_TRUST_OFF: 'unsigned mode', E_TRUST_ROOT: 'cannot verify updates', E_TRUST_UNSIGNED: 'unsigned update refused', E_TRUST_FREEZE: 'update has expired', E_TRUST_ROLLBACK: 'older update refused',
};

/**
 * Whether a device does its work, by what it says itself.
 * `connected`: whether this side hears the broker; if not, nothing that is known is current. `refused`: reports of it that this side did not believe.
 */
export function healthOf({ status, reported }: Pick<DeviceRecord, 'status' | 'reported'>, connected: boolean, refused: RefusedReports | null = null): Health {
  if (!connected || (status === null && refused === null)) return { level: 'unknown', alarms: [] };
  const alarms: Alarm[] = refusedAlarms(refused);
  if (status === null) return { level: alarms.length === 0 ? 'unknown' : 'bad', alarms };
  if (status.state !== 'online') alarms.push({ level: 'bad', pipeline: null, component: 'device', code: 'E_DEVICE_OFFLINE', title: status.state, message: `The device is ${status.state}` });
  else alarms.push(...(reported?.faults ?? []).map(alarmOf));
  for (const pipeline of reported?.pipelines ?? []) alarms.push(...packageAlarms(pipeline));
  const several = (reported?.pipelines.length ?? 0) > 1;
  const level = alarms.some((alarm) => alarm.level === 'bad') ? 'bad' : alarms.length > 0 ? 'warning' : 'good';
  return { level, alarms: several ? alarms.map(named) : alarms };
}

/** An old report may be a broker's mishap; one that somebody has written or stripped is not. */
function refusedAlarms(refused: RefusedReports | null): Alarm[] {
  if (refused === null || Date.now() - refused.timeMs > REFUSED_MS) return [];
  const { code, message, count } = refused;
  return [{ level: code === 'E_REPORT_REPLAYED' ? 'warning' : 'bad', pipeline: null, component: 'report', code, title: TITLES[code] ?? 'report refused', message: `${message} (${count} refused so far)` }];
}

function packageAlarms({ name, slots, ota: { state, package: candidate, error } }: PipelineReport): Alarm[] {
  const alarms: Alarm[] = [];
  if (slots.active === null) alarms.push({ level: 'warning', pipeline: name, component: 'model', code: 'E_NO_MODEL', title: 'no model', message: 'No package runs on the device' });
  if (state !== 'rejected' && state !== 'rolled_back') return alarms;
  const what = state.replace('_', ' ');
  const message = `${candidate === null ? 'The update' : `${candidate.name} ${candidate.version}`} was ${what}${error === null ? '' : `: ${error.message}`}`;
  return [...alarms, { level: 'warning', pipeline: name, component: 'model', code: error?.code ?? 'E_DEVICE_REJECTED', title: `update ${what}`, message }];
}

/** Whose alarm it is, where a device has several pipelines. */
function named(alarm: Alarm): Alarm {
  return alarm.pipeline === null ? alarm : { ...alarm, title: `${alarm.pipeline}: ${alarm.title}` };
}

interface Fault { pipeline: string | null; component: string; code: string; message: string }

function alarmOf({ pipeline, component, code, message }: Fault): Alarm {
  return { level: VITAL.has(component) && code !== 'E_GALLERY_SPACE' ? 'bad' : 'warning', pipeline, component, code, title: TITLES[code] ?? (code.startsWith('E_TRUST_') ? 'update not trusted' : `${component} fault`), message };
}
