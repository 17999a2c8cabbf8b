/** Figures of devices as samples of VictoriaMetrics, by its import of the Prometheus text format (POST /api/v1/import/prometheus). */
import type { DeviceAddress, TelemetryWindow } from '../../../agent/contracts/index.js';
import { DeployError } from '../../errors.js';
import { DEVICE_PREFIX, samplesOf } from '../device-samples.js';

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

/** Samples of a window, as lines of the text format, at the time `timeMs`. */
export function linesOf(address: DeviceAddress, window: TelemetryWindow, timeMs: number): string[] {
  return samplesOf(address, window).map(({ name, labels, value }) => `${DEVICE_PREFIX}${name}${labelText(labels)} ${value} ${Math.round(timeMs)}`);
}

const labelText = (labels: Readonly<Record<string, string>>): string =>
  `{${Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/["\\\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`))}"`).join(',')}}`;
