/** Roll-outs as text for people. */
import type { Plan } from '../rollout/plan.js';
import { devicesText, waveName, type RolloutSpec } from '../rollout/spec.js';
import { strip, stripLegend, type DeviceView, type RolloutView } from '../rollout/view.js';
import { formatBytes, formatTable } from './table.js';

/** Devices of a plan that are listed; the others are counted. */
const LISTED = 60;

const seconds = (ms: number): string => (ms < 120_000 ? `${Math.round(ms / 100) / 10} s` : ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 360_000) / 10} h`);

interface What { id: string; fleet: string; package: { name: string; version: string; size_bytes: number } }

export function planText({ id, fleet, package: wanted }: What, spec: RolloutSpec, plan: Plan): string {
  const rules = `A wave passes at ${spec.min_success_percent} % successes and halts above ${spec.max_error_percent} % failures, from ${spec.min_samples} results on; then ${spec.on_halt === 'wait' ? 'it waits for an operator' : 'everything is taken back'}.`;
  const waves = spec.waves.map((wave, index) => {
    const size = plan.devices.filter((device) => device.wave === index).length;
    const when = index === 0 ? 'at once' : `at the earliest ${seconds(spec.soak_ms)} after wave ${index} has passed`;
    return `Wave ${index + 1} (${waveName(wave)}): ${devicesText(size)}, ${when}, starts spread over ${seconds(spec.spread_ms)}`;
  });
  const rows = plan.devices.slice(0, LISTED).map(({ device, pipeline, wave, offset_ms }) => [String(wave + 1), device, pipeline, `+${seconds(offset_ms)}`]);
  const rest = [
    ...(plan.devices.length > LISTED ? [`and ${plan.devices.length - LISTED} more (--json lists all)`] : []),
    ...(plan.already.length > 0 ? [`${devicesText(plan.already.length)} already run it`] : []),
    ...(plan.left_out.length > 0 ? [`No wave takes ${devicesText(plan.left_out.length)}: ${plan.left_out.slice(0, 10).join(', ')}${plan.left_out.length > 10 ? ', ...' : ''}`] : []),
  ];
  const table = formatTable([{ title: 'wave', align: 'right' }, { title: 'device' }, { title: 'pipeline' }, { title: 'starts' }], rows);
  return [`${id}: ${wanted.name} ${wanted.version} (${formatBytes(wanted.size_bytes)}) to ${devicesText(plan.devices.length)} of fleet ${fleet}`, rules, ...waves, '', table, ...rest].join('\n');
}

export function listText(views: readonly RolloutView[]): string {
  if (views.length === 0) return 'There are no roll-outs here.';
  return formatTable(['roll-out', 'fleet', 'package', 'state', 'wave', 'devices', 'succeeded', 'failed', 'begun'].map((title) => ({ title })), views.map((view) => [
    view.id, view.fleet, `${view.package.name} ${view.package.version}`, view.phase, `${view.wave + 1} of ${view.waves.length}`, String(view.size), String(total(view, 'succeeded')), String(total(view, 'failed')), new Date(view.created_ms).toISOString().slice(0, 16),
  ]));
}

export function statusText(view: RolloutView, devices: readonly DeviceView[] | null): string {
  const name = Math.max(...view.waves.map((wave) => wave.name.length));
  const waves = view.waves.map((wave, i) => {
    const counts = Object.entries(wave.groups).filter(([, n]) => n > 0).map(([group, n]) => `${n} ${group}`).join(', ');
    const state = wave.passed_ms !== null ? 'passed' : wave.opened_ms !== null ? 'open' : 'not opened';
    return `${i + 1}  ${wave.name.padEnd(name)}  ${strip(wave).padEnd(40)}  ${state}: ${counts === '' ? 'no devices' : counts}`;
  });
  const head = `${view.id}: ${view.package.name} ${view.package.version} to ${devicesText(view.size)} of fleet ${view.fleet}: ${view.phase}`;
  const failures = view.halt?.devices.map(({ device, code, message }) => `  ${device}: ${code}: ${message}`) ?? [];
  const log = view.log.map(({ time_ms, text }) => `${new Date(time_ms).toISOString().slice(0, 19)}  ${text}`);
  const table = devices === null ? [] : ['', formatTable(['wave', 'device', 'pipeline', 'state', 'before', 'error'].map((title) => ({ title })), devices.map((device) => [String(device.wave + 1), device.device, device.pipeline, device.phase, device.before ?? '-', device.error === null ? '-' : `${device.error.code}: ${device.error.message}`]))];
  return [head, ...waves, `   ${stripLegend}`, ...(view.halt === null ? [] : ['', `Halted: ${view.halt.text}`, ...failures]), '', ...log, ...table].join('\n');
}

function total({ waves }: RolloutView, group: 'succeeded' | 'failed'): number {
  return waves.reduce((sum, wave) => sum + wave.groups[group], 0);
}
