import { DEFAULT_PIPELINE, type PipelineReport, type TelemetryWindow } from '../../agent/contracts/index.js';
import { formatBytes, formatTable } from '../cli/table.js';
import { recentWindow, telemetryView, type TelemetryView } from '../collector/view.js';
import type { DemoPackageSummary } from './model.js';
import type { Recognition } from './visits.js';

/** What `sterna up --once --json` prints. */
export interface UpSummary {
  package: DemoPackageSummary & { cached: boolean };
  transfer: { state: string; blocks: number; ms: number };
  recognitions: { name: string | null; similarity: number | null; latency_ms: number }[];
  missing: string[];
  telemetry: TelemetryView | null;
  memory: { rss_bytes: number; rss_peak_bytes: number } | null;
  malformed_messages: number;
}

export function summarize(parts: {
  package: DemoPackageSummary; cached: boolean; reported: PipelineReport; transferMs: number; recognitions: readonly Recognition[]; missing: readonly string[];
  windows: readonly TelemetryWindow[]; malformed: number;
}): UpSummary {
  const whole = recentWindow(parts.windows, Infinity);
  return {
    package: { ...parts.package, cached: parts.cached },
    transfer: { state: parts.reported.ota.state, blocks: parts.reported.ota.blocks_total, ms: Math.round(parts.transferMs) },
    recognitions: parts.recognitions.map(({ name, similarity, latencyMs }) => ({ name, similarity, latency_ms: latencyMs })),
    missing: [...parts.missing],
    telemetry: whole === null ? null : telemetryView(whole, DEFAULT_PIPELINE),
    memory: whole === null ? null : { rss_bytes: whole.memory.rss_bytes, rss_peak_bytes: whole.memory.rss_peak_bytes },
    malformed_messages: parts.malformed,
  };
}

export function summaryText(summary: UpSummary): string {
  const { package: pack, transfer, telemetry } = summary;
  const cosines = Object.entries(pack.output_cosine).map(([stage, cosine]) => `${stage} ${cosine.toFixed(4)}`).join(', ');
  const lines = [
    '',
    `package     ${pack.name} ${pack.version}, ${formatBytes(pack.package_bytes)}; models ${formatBytes(pack.float_bytes)} -> ${formatBytes(pack.int8_bytes)}${cosines === '' ? '' : ` (cosine to float32: ${cosines})`}`,
    `transfer    ${transfer.blocks} blocks over MQTT, ${transfer.state} after ${(transfer.ms / 1000).toFixed(1)} s`,
    `recognized  ${summary.recognitions.map(describe).join(', ') || 'nobody'}`,
    ...(telemetry === null ? ['telemetry   none arrived'] : telemetryLines(telemetry)),
    ...(summary.missing.length === 0 ? [] : [`missing     ${summary.missing.join(', ')}`]),
  ];
  return lines.join('\n');
}

function describe({ name, similarity, latency_ms }: UpSummary['recognitions'][number]): string {
  return name === null ? `somebody unknown (${latency_ms.toFixed(0)} ms)` : `${name} (similarity ${similarity?.toFixed(2) ?? '?'}, ${latency_ms.toFixed(0)} ms after capture)`;
}

function telemetryLines(view: TelemetryView): string[] {
  const { inference } = view.energy;
  const frames = Object.values(view.exits).reduce((a, b) => a + b, 0);
  const exits = Object.entries(view.exits).map(([kind, n]) => `${kind} ${n}`).join(', ');
  const table = formatTable(
    [{ title: 'stage' }, ...['frames', 'p50 ms', 'p99 ms', 'max ms'].map((title) => ({ title, align: 'right' as const }))],
    view.stages.filter((stage) => stage.kind === 'warm').map(({ stage, count, p50_ms, p99_ms, max_ms }) => [stage, String(count), p50_ms.toFixed(3), p99_ms.toFixed(3), max_ms.toFixed(3)]),
  );
  return [
    `frames      ${frames} (${exits})`,
    `latency     ${view.raw === null ? 'no full frame' : `p50 ${view.raw.p50_ms.toFixed(1)} ms, p99 ${view.raw.p99_ms.toFixed(1)} ms, capture to result`}; jitter ${view.jitter.rfc3550_ms.toFixed(2)} ms (RFC 3550); ${view.jitter.deadlines_missed} of ${view.jitter.deadlines} deadlines of ${view.jitter.deadline_ms} ms missed`,
    `energy      ${inference === null ? 'no source' : `${(inference.gross_joules * 1000).toFixed(1)} mJ an inference (${inference.source}, ${inference.quality})`}`,
    `memory      ${formatBytes(view.memory.rss_bytes)} resident, ${formatBytes(view.memory.rss_peak_bytes)} peak`,
    '', table,
  ];
}
