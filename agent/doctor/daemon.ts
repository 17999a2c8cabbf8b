/** Asks the daemon over its local API whether it runs, and what it says of itself. */
import { z } from 'zod';
import type { Config } from '../config/schema.js';
import { checksOf, type Check } from './check.js';

const TIMEOUT_MS = 3000;
const healthSchema = z.object({ ok: z.boolean(), reasons: z.array(z.string()), warnings: z.array(z.string()).default([]) });

export async function checkDaemon({ api }: Config): Promise<{ checks: Check[]; runs: boolean }> {
  const report = checksOf('daemon');
  if (!api.enabled || api.port === 0) return { checks: [report.none('its local API is switched off, so it cannot be asked')], runs: false };
  const host = api.host === '0.0.0.0' ? '127.0.0.1' : api.host === '::' ? '::1' : api.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${api.port}/health`;
  let answer: unknown;
  try {
    answer = await (await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })).json();
  } catch {
    return { checks: [report.warning('it does not run', { remedy: 'systemctl start sternad; `journalctl -u sternad` says why it ended' })], runs: false };
  }
  const health = healthSchema.safeParse(answer);
  if (!health.success) return { checks: [report.failed(`another program answers at ${url}`, { remedy: 'set api.port to a free port' })], runs: false };
  const { ok, reasons, warnings } = health.data;
  if (!ok) return { checks: [report.failed(`it runs, but ${reasons.join('; ')}`, { details: health.data, remedy: '`journalctl -u sternad` has the details' })], runs: true };
  return { checks: [warnings.length > 0 ? report.warning(`it runs; ${warnings.join('; ')}`, { details: health.data }) : report.ok('it runs, and frames go through', { details: health.data })], runs: true };
}
