import { setTimeout as sleep } from 'node:timers/promises';
import type { PipelineReport } from '../../../agent/contracts/index.js';
import { Collector } from '../../collector/collector.js';
import type { FleetPast } from '../../collector/fleet-past.js';
import { healthOf, type Health } from '../../collector/health.js';
import { CollectorStore, defaultLimits, type DeviceRecord } from '../../collector/store.js';
import type { LinkOptions } from '../../mqtt/link.js';
import type { ReportGuard } from '../../repository/report-guard.js';
import { formatTable } from '../table.js';

/** Retained messages arrive at once after subscribing; nothing says which was the last. */
export const DISCOVERY_MS = 1500;

export interface OpenFleet {
  store: CollectorStore;
  collector: Collector;
  /** Where the past is, if it is not in `store`. */
  past: FleetPast | undefined;
  close(): Promise<void>;
}

export interface OpenFleetOptions {
  guard: ReportGuard;
  database?: string;
  maxDevices?: number;
  /** Has the past of devices, which `store` then does not keep; closed with the fleet. */
  past?: FleetPast;
}

/** Listens to a fleet (all of them when it is absent). @throws DeployError E_BROKER_CONNECT, E_COLLECTOR */
export async function openFleet(link: Omit<LinkOptions, 'clientId'>, fleet: string | undefined, { guard, database = ':memory:', maxDevices = defaultLimits.devices, past }: OpenFleetOptions): Promise<OpenFleet> {
  const store = new CollectorStore(database, { ...defaultLimits, devices: maxDevices, ...(past === undefined ? {} : { history: 0 }) });
  const collector = new Collector({ ...link, guard, ...(fleet === undefined ? {} : { fleet }) }, store);
  const close = async (): Promise<void> => {
    await past?.close();
    store.close();
  };
  try {
    if (past !== undefined) await knowAgain(store, past, { fleet, guard });
    await collector.start();
  } catch (error) {
    await close();
    throw error;
  }
  return { store, collector, past, close: async () => { await collector.stop(); await close(); } };
}

/**
 * Devices that the broker no longer retains are in the store of the past. Where reports are verified, only the broker brings them, because a store could have changed them.
 * Without the store the page begins with what the broker retains, and says that the store is away.
 */
async function knowAgain(store: CollectorStore, past: FleetPast, { fleet, guard }: { fleet: string | undefined; guard: ReportGuard }): Promise<void> {
  const known = await past.devices().catch(() => []);
  store.transaction(() => {
    for (const record of known) {
      if (fleet !== undefined && record.fleet !== fleet) continue;
      if (record.status !== null) store.note(record, 'status', record.status, record.seenMs);
      if (record.caps !== null) store.note(record, 'caps', record.caps, record.seenMs);
      if (record.reported !== null && !guard.verifies) store.note(record, 'reported', record.reported, record.seenMs);
    }
  });
}

/** The devices, when what the broker retains has arrived. */
export async function discovered(fleet: OpenFleet, signal: AbortSignal): Promise<(DeviceRecord & { health: Health })[]> {
  await sleep(DISCOVERY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  return fleet.store.devices().map((record) => ({ ...record, health: healthOf(record, fleet.collector.connected, fleet.collector.guard.refused(record)) }));
}

const LEVELS = { good: 'ok', warning: 'warning', bad: 'ALARM', unknown: 'unknown' } as const;

export function deviceJson({ fleet, device, status, reported, health }: DeviceRecord & { health: Health }): Record<string, unknown> {
  return {
    fleet, device, state: status?.state ?? 'unknown', agent: status?.version ?? null, report: verification(reported),
    pipelines: (reported?.pipelines ?? []).map(({ name, input, slots, ota, generation_seen, generation_applied, probation }) => ({
      name, input, package: slots.active, update: { ...ota, generation_seen, generation_applied }, probation,
    })),
    health: health.level, alarms: health.alarms,
  };
}

/** One row a pipeline. */
export function deviceTable(devices: readonly (DeviceRecord & { health: Health })[]): string {
  const rows = devices.flatMap(({ fleet, device, status, reported, health }) => {
    const pipelines: (PipelineReport | null)[] = reported === null || reported.pipelines.length === 0 ? [null] : reported.pipelines;
    return pipelines.map((pipeline, i) => [
      i === 0 ? `${fleet}/${device}` : '', i === 0 ? status?.state ?? 'unknown' : '', i === 0 ? status?.version ?? '-' : '', i === 0 ? verification(reported) ?? '-' : '', pipeline?.name ?? '-',
      pipeline?.slots.active == null ? 'none' : `${pipeline.slots.active.name} ${pipeline.slots.active.version}${pipeline.probation ? ' (probation)' : ''}`,
      updateText(pipeline), i === 0 ? LEVELS[health.level] : '', i === 0 ? health.alarms.map(({ code, title }) => `${title} (${code})`).join(', ') || '-' : '',
    ]);
  });
  return formatTable(['device', 'state', 'agent', 'report', 'pipeline', 'package', 'update', 'health', 'alarms'].map((title) => ({ title })), rows);
}

/** Null without a report. A reader keeps the signature only of a report that it has verified. */
const verification = (reported: DeviceRecord['reported']): 'verified' | 'unverified' | null => (reported === null ? null : reported.signature === undefined ? 'unverified' : 'verified');

function updateText(reported: PipelineReport | null): string {
  if (reported === null) return '-';
  const { state, package: candidate, blocks_done: done, blocks_total: total } = reported.ota;
  const share = state === 'downloading' && total > 0 ? ` ${Math.floor((100 * done) / total)} %` : '';
  const what = candidate === null || state === 'committed' || state === 'idle' ? '' : ` ${candidate.name} ${candidate.version}`;
  return `${state.replace('_', ' ')}${what}${share}`;
}
