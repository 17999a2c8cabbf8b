/** Figures of devices as samples of VictoriaMetrics, by its import of the Prometheus text format (POST /api/v1/import/prometheus). */
import { quantile, type DeviceAddress, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { DeployError } from '../../errors.js';

const TIMEOUT_MS = 10_000;

export class VictoriaMetrics {
  readonly #url: string;

  /** @param url of the server, for example http://127.0.0.1:8428 */
  constructor(url: string) {
    this.#url = url.replace(/\/$/, '');
  }

  /** The same samples may be sent again: a sample is known by its series and its time. @throws DeployError E_COLLECTOR */
  async write(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const failed = (why: string, cause?: unknown): DeployError => new DeployError('E_COLLECTOR', `VictoriaMetrics at ${this.#url} did not take ${lines.length} samples: ${why}`, { cause });
    let response: Response;
    try {
      response = await fetch(`${this.#url}/api/v1/import/prometheus`, { method: 'POST', body: `${lines.join('\n')}\n`, signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch (cause) {
      throw failed(cause instanceof Error ? cause.message : String(cause), cause);
    }
    if (!response.ok) throw failed(`status ${response.status}: ${(await response.text()).slice(0, 200)}`);
  }
}

/** Samples of a window, as lines of the text format, at the time `timeMs`. Names and units are those of `/metrics` of the fleet. */
export function samplesOf({ fleet, device }: DeviceAddress, window: TelemetryWindow, timeMs: number): string[] {
  const lines: string[] = [];
  const add = (name: string, value: number | null, labels: Readonly<Record<string, string>> = {}): void => {
    if (value !== null) lines.push(`sterna_device_${name}${labelText({ fleet, device, ...labels })} ${value} ${Math.round(timeMs)}`);
  };
  add('temperature_celsius', window.thermal.zones.length === 0 ? null : Math.max(...window.thermal.zones.map(({ celsius }) => celsius)));
  add('resident_memory_bytes', window.memory.rss_bytes);
  for (const { source, scope, quality, joules_total } of window.energy.sources) add('energy_joules_total', joules_total, { source, scope, quality });
  addCounters(add, window.counters, {});
  for (const { name: pipeline, model, end_to_end, counters } of window.pipelines) {
    const labels = { pipeline, package: model === null ? '' : `${model.name} ${model.version}` };
    for (const { clock, kind, latency_ms } of end_to_end) {
      if (clock !== 'raw') continue;
      for (const percent of [50, 99]) add(`latency_p${percent}_seconds`, toSeconds(quantile(latency_ms, percent / 100)), { ...labels, kind });
    }
    addCounters(add, counters, { pipeline });
  }
  return lines;
}

const toSeconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);

function addCounters(add: (name: string, value: number, labels: Readonly<Record<string, string>>) => void, counters: Readonly<Record<string, number>>, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(counters)) {
    const own = [...key.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, label = '', text = '']): [string, string] => [label, text]);
    add(key.replace(/\{.*$/, ''), value, { ...labels, ...Object.fromEntries(own) });
  }
}

const labelText = (labels: Readonly<Record<string, string>>): string =>
  `{${Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/["\\\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`))}"`).join(',')}}`;
