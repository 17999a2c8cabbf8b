/** What the entities of Home Assistant show, made of what devices say. Every value is one that Home Assistant takes; `null` shows as unknown. */
import { quantile, type FindingEvent, type PipelineReport, type PipelineWindow, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { Health } from '../collector/health.js';

/** Home Assistant refuses longer states. */
const MAX_STATE = 255;
/** Words that Home Assistant reads as no state at all. */
const NO_STATE: ReadonlySet<string> = new Set(['', 'none', 'unknown', 'unavailable']);
/** The states of a deployment that is under way. */
const UNDER_WAY: ReadonlySet<string> = new Set(['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow']);

export type OnOff = 'ON' | 'OFF';
const onOff = (on: boolean): OnOff => (on ? 'ON' : 'OFF');

export function telemetryState(window: TelemetryWindow): Record<string, number | OnOff | null> {
  const { thermal, energy, memory } = window;
  const { inference } = energy;
  const source = inference === null ? energy.sources.find(({ joules }) => joules !== null) : energy.sources.find((s) => s.source === inference.source && s.scope === inference.scope);
  const seconds = (window.end_ms - window.start_ms) / 1000;
  const joules = inference?.net_joules ?? inference?.gross_joules ?? null;
  return {
    celsius: largest(thermal.zones.map(({ celsius }) => celsius)),
    watts: source?.joules == null || seconds <= 0 ? null : rounded(source.joules / seconds, 3),
    watt_hours: source === undefined ? null : rounded(source.joules_total / 3600, 3),
    inference_millijoules: joules === null ? null : rounded(joules * 1000, 3),
    memory_megabytes: rounded(memory.rss_bytes / 1e6, 1),
    cpu_megahertz: scaled(largest(thermal.cpus.map(({ current_hertz }) => current_hertz)), 1e-6),
    throttled: onOff(thermal.throttled),
  };
}

/** Of the frames that ran in full; null without one. */
export function latencyState({ end_to_end: series }: PipelineWindow): { p50_ms: number | null; p99_ms: number | null } {
  const warm = series.find(({ clock, kind }) => clock === 'raw' && kind === 'warm');
  const at = (q: number, given: number | null | undefined): number | null => (warm === undefined ? null : given ?? scaled(quantile(warm.latency_ms, q), 1));
  return { p50_ms: at(0.5, warm?.p50_ms), p99_ms: at(0.99, warm?.p99_ms) };
}

/** A pipeline for sound measures its level first; one for pictures never does. Null while no package runs. */
export function senseOf({ model, stages }: PipelineWindow): 'sight' | 'sound' | null {
  if (model === null || stages.length === 0) return null;
  return stages.some(({ stage }) => stage === 'levels') ? 'sound' : 'sight';
}

/**
 * What Home Assistant's update entity reads, and no other key, because it refuses a message with one. A version that nobody knows is left out.
 * The latest version is another one only while the device works on it: what it has refused is no update that anybody could install here.
 */
export function updateState({ ota, slots: { active } }: PipelineReport): Record<string, string | number | boolean | null> {
  const candidate = UNDER_WAY.has(ota.state) ? ota.package : null;
  const { transfer } = ota;
  const [done, total] = transfer === undefined ? [ota.blocks_done, ota.blocks_total] : [transfer.bytes_done, transfer.bytes_total];
  const latest = candidate?.version ?? active?.version;
  const failed = ota.state === 'rejected' || ota.state === 'rolled_back';
  const what = ota.package === null ? 'The update' : `${ota.package.name} ${ota.package.version}`;
  return {
    ...(active === null ? {} : { installed_version: active.version.slice(0, MAX_STATE) }),
    ...(latest === undefined ? {} : { latest_version: latest.slice(0, MAX_STATE) }),
    title: (candidate ?? active)?.name ?? '',
    release_summary: failed ? `${what} was ${ota.state.replace('_', ' ')}${ota.error === null ? '' : `: ${ota.error.message}`}`.slice(0, MAX_STATE) : '',
    in_progress: candidate !== null,
    update_percentage: candidate !== null && ota.state === 'downloading' && total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : null,
  };
}

/** Whom or what a finding shows, in words. */
export function visitorName({ finding: { identity, label, liveness } }: FindingEvent): string {
  const name = liveness?.live === false ? `a picture of a ${label}` : identity === null ? 'a stranger' : identity?.name ?? label;
  const short = [...name.trim()].slice(0, MAX_STATE - 2).join('').slice(0, MAX_STATE - 2);
  return NO_STATE.has(short.toLowerCase()) ? `"${short}"` : short;
}

export const visitorState = (event: FindingEvent): Record<string, unknown> => ({
  name: visitorName(event), label: event.finding.label, score: event.finding.score, ...(event.finding.identity == null ? {} : { similarity: event.finding.identity.similarity }),
  time: new Date(event.time_ms).toISOString(), ...(event.clock_synchronized ? {} : { clock_synchronized: false }),
});

export const heardState = (event: FindingEvent): Record<string, unknown> => ({
  event_type: event.action === 'appeared' ? 'started' : 'ended', label: event.finding.label, score: event.finding.score, time: new Date(event.time_ms).toISOString(),
  ...(event.finding.duration_ms === undefined ? {} : { duration_ms: event.finding.duration_ms }),
});

export const healthState = ({ level, alarms }: Health): Record<string, unknown> => ({
  problem: onOff(level === 'bad' || level === 'warning'), level, alarms: alarms.map(({ title, code }) => `${title} (${code})`),
});

/** The key under which the end of something belongs to its beginning. */
export const presenceKey = ({ finding: { type, label, identity, track, liveness } }: FindingEvent): string =>
  (identity == null ? `${liveness?.live === false ? 'picture/' : ''}${type}/${label}/${track ?? ''}` : `person/${identity.person_id}`);

const largest = (values: readonly number[]): number | null => (values.length === 0 ? null : Math.max(...values));
const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));
const scaled = (value: number | null, factor: number): number | null => (value === null ? null : rounded(value * factor, 3));
