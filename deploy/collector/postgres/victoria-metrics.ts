/**
 * Figures of devices as samples of VictoriaMetrics: written by its import of the Prometheus text format (POST /api/v1/import/prometheus), and read as they were written
 * (POST /api/v1/export).
 */
import type { DeviceAddress, TelemetryWindow } from '../../../agent/contracts/index.js';
import { fetchMessageOf } from '../../../runtime/errors.js';
import { DeployError, type DeployErrorCode } from '../../errors.js';
import { DEVICE_PREFIX, samplesOf } from '../device-samples.js';

const TIMEOUT_MS = 10_000;

/** Samples of a series, oldest first. */
export interface Series {
  metric: Readonly<Record<string, string | undefined>>;
  values: readonly (number | string | null)[];
  timestamps: readonly number[];
}

export class VictoriaMetrics {
  readonly #url: string;

  /** @param url of the server, for example http://127.0.0.1:8428 */
  constructor(url: string) {
    this.#url = url.replace(/\/$/, '');
  }

  /** The same samples may be sent again: a sample is known by its series and its time. @throws DeployError E_COLLECTOR */
  async write(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    await this.#post('/api/v1/import/prometheus', `${lines.join('\n')}\n`, { code: 'E_COLLECTOR', what: `did not take ${lines.length} samples` });
  }

  /** Samples between two times, milliseconds, of all series that a selector such as `{device="door-1"}` finds. @throws DeployError E_STORE */
  async export(selector: string, fromMs: number, toMs: number): Promise<Series[]> {
    const text = await this.#post('/api/v1/export', new URLSearchParams({ 'match[]': selector, start: String(fromMs / 1000), end: String(toMs / 1000) }), { code: 'E_STORE', what: 'cannot be read' });
    return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Series);
  }

  async #post(path: string, body: string | URLSearchParams, { code, what }: { code: DeployErrorCode; what: string }): Promise<string> {
    const failed = (why: string, cause?: unknown): DeployError => new DeployError(code, `VictoriaMetrics at ${this.#url} ${what}: ${why}`, { cause });
    try {
      const response = await fetch(`${this.#url}${path}`, { method: 'POST', body, signal: AbortSignal.timeout(TIMEOUT_MS) });
      const text = await response.text();
      if (!response.ok) throw failed(`status ${response.status}: ${text.slice(0, 200)}`);
      return text;
    } catch (cause) {
      if (cause instanceof DeployError) throw cause;
      throw failed(whyOf(cause), cause);
    }
  }
}

const whyOf = (error: unknown): string => (error instanceof Error && error.name === 'TimeoutError' ? `no answer within ${TIMEOUT_MS / 1000} s` : fetchMessageOf(error));

/** Samples of a window, as lines of the text format, at the time `timeMs`. */
export function linesOf(address: DeviceAddress, window: TelemetryWindow, timeMs: number): string[] {
  return samplesOf(address, window).map(({ name, labels, value }) => `${DEVICE_PREFIX}${name}${labelText(labels)} ${value} ${Math.round(timeMs)}`);
}

const escaped = (value: string): string => value.replace(/["\\\n]/g, (found) => (found === '\n' ? '\\n' : `\\${found}`));

/** @param more matchers that are no plain labels, for a selector */
export const labelText = (labels: Readonly<Record<string, string>>, more: readonly string[] = []): string =>
  `{${[...Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`), ...more].join(',')}}`;
