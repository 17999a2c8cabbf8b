/** A roll-out as commands and the page show it. */
import { isFinished, type DevicePhase, type RolloutDevice } from './state.js';
import { nameOfWave } from './spec.js';
import type { LoggedNote, Rollout, RolloutStore } from './store.js';

/** What devices do, in the order in which a picture shows it. */
export const groups = ['succeeded', 'running', 'failed', 'away', 'returned', 'waiting'] as const;
export type Group = (typeof groups)[number];

const GROUP_OF: Readonly<Record<DevicePhase, Group>> = {
  succeeded: 'succeeded', asking: 'running', asked: 'running', proving: 'running', failed: 'failed', kept: 'failed', absent: 'away', superseded: 'away',
  withdrawing: 'returned', returning: 'returned', returned: 'returned', waiting: 'waiting',
};

export interface WaveView {
  name: string;
  size: number;
  opened_ms: number | null;
  passed_ms: number | null;
  groups: Record<Group, number>;
  counts: Record<DevicePhase, number>;
  codes: Record<string, number>;
  /** Results so far, and how many of them in a hundred are failures. */
  samples: number;
  error_percent: number | null;
  success_percent: number;
}

export interface RolloutView {
  id: string;
  fleet: string;
  package: { name: string; version: string; digest: string; size_bytes: number };
  phase: string;
  finished: boolean;
  created_ms: number;
  created_by: string;
  size: number;
  wave: number;
  waves: WaveView[];
  rules: Pick<Rollout['spec'], 'min_success_percent' | 'max_error_percent' | 'min_samples' | 'spread_ms' | 'soak_ms' | 'timeout_ms' | 'on_halt' | 'seed'>;
  halt: Rollout['state']['halt'];
  log: LoggedNote[];
}

export function rolloutView(store: Pick<RolloutStore, 'notes'>, { id, fleet, package: wanted, spec, state, created_ms, created_by }: Rollout): RolloutView {
  const { waves: _waves, ...rules } = spec;
  return {
    id, fleet, package: { name: wanted.name, version: wanted.version, digest: wanted.digest, size_bytes: wanted.size_bytes },
    phase: state.phase, finished: isFinished(state), created_ms, created_by, size: state.waves.reduce((sum, { size }) => sum + size, 0), wave: state.wave,
    waves: state.waves.map((wave, i): WaveView => {
      const samples = wave.counts.succeeded + wave.counts.proving + wave.counts.failed;
      return {
        name: nameOfWave(spec, i), size: wave.size, opened_ms: wave.opened_ms, passed_ms: wave.passed_ms, groups: grouped(wave.counts), counts: wave.counts, codes: wave.codes,
        samples, error_percent: samples === 0 ? null : (wave.counts.failed * 100) / samples, success_percent: wave.size === 0 ? 100 : (wave.counts.succeeded * 100) / wave.size,
      };
    }),
    rules, halt: state.halt, log: store.notes(id),
  };
}

function grouped(counts: Record<DevicePhase, number>): Record<Group, number> {
  const sums: Record<Group, number> = { succeeded: 0, running: 0, failed: 0, away: 0, returned: 0, waiting: 0 };
  for (const [phase, n] of Object.entries(counts)) sums[GROUP_OF[phase as DevicePhase]] += n;
  return sums;
}

export type DeviceView = Omit<RolloutDevice, 'before'> & { group: Group; before: string | null };

export function deviceView({ before, ...device }: RolloutDevice): DeviceView {
  return { ...device, group: GROUP_OF[device.phase], before: before === null ? null : `${before.name} ${before.version}` };
}

const MARKS: Readonly<Record<Group, string>> = { succeeded: '#', running: '>', failed: 'x', away: '-', returned: '<', waiting: '.' };
const STRIP = 40;

/** A picture of a wave in characters. Every group that has a device has at least one of them. */
export function strip({ size, groups: of }: Pick<WaveView, 'size' | 'groups'>, width = STRIP): string {
  if (size === 0) return '';
  const present = groups.filter((group) => of[group] > 0);
  const lengths = new Map(present.map((group) => [group, Math.max(1, Math.round((of[group] * width) / size))]));
  const excess = [...lengths.values()].reduce((sum, n) => sum + n, 0) - width;
  const longest = present.reduce((a, b) => ((lengths.get(b) ?? 0) > (lengths.get(a) ?? 0) ? b : a));
  lengths.set(longest, Math.max(1, (lengths.get(longest) ?? 0) - excess));
  return present.map((group) => MARKS[group].repeat(lengths.get(group) ?? 0)).join('');
}

export const stripLegend = groups.map((group) => `${MARKS[group]} ${group}`).join('   ');
