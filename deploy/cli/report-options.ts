import type { Command } from 'commander';
import { join } from 'node:path';
import { ReportGuard, type RefusedReports } from '../repository/report-guard.js';
import { messageOf } from '../../runtime/errors.js';
import { AccessFolderKeys } from '../repository/report-keys.js';
import { ReportMemory, reportMemoryFile } from '../repository/report-memory.js';
import { log } from './output.js';

/** Of commands that believe reports of devices. */
export interface ReportOptions {
  access?: string;
  unsignedReports: boolean;
  repository?: string;
}

export function addReportOptions(command: Command): Command {
  return command
    .option('--access <folder>', 'certificates of devices (sterna provision), which verify what devices report; default: access/ in the repository, if there is one')
    .option('--unsigned-reports', 'also believe reports without a signature, which whoever controls the broker can write', false);
}

/**
 * Verifies reports by the certificates of the folder. Without one, says on stderr that nobody verifies them.
 * @throws DeployError E_FILE when the named folder has no certificates
 */
export function reportGuard(self: Command, { access, unsignedReports, repository = process.env['STERNA_REPOSITORY'] }: ReportOptions): ReportGuard {
  const beside = repository === undefined ? null : join(repository, 'access');
  const folder = access ?? (beside !== null && AccessFolderKeys.in(beside) ? beside : null);
  if (folder === null) {
    log(self, 'WARNING: what devices report is NOT VERIFIED, so whoever controls the broker can invent it. --access FOLDER names their certificates (sterna provision)');
    return new ReportGuard();
  }
  if (unsignedReports) log(self, 'WARNING: reports without a signature are believed (--unsigned-reports), so whoever controls the broker can invent them');
  const memory = reportMemory(self);
  return new ReportGuard({ keys: new AccessFolderKeys(folder), acceptUnsigned: unsignedReports, ...(memory === null ? {} : { memory }) });
}

/** Null, with a warning: it cannot be opened. A command that says what a device does is of use without it. */
function reportMemory(self: Command): ReportMemory | null {
  const warn = (why: string): void => log(self, `WARNING: the newest reports are not remembered, so whoever controls the broker can show a report that was held back to the next command: ${why}`);
  try {
    return new ReportMemory(reportMemoryFile(), warn);
  } catch (error) {
    warn(messageOf(error));
    return null;
  }
}

type Refused = readonly [name: string, reports: RefusedReports];

const refusedLine = ([name, { code, message, count }]: Refused): string => `${name}: ${count} ${count === 1 ? 'report' : 'reports'} refused: ${message} (${code})`;

function refusedRow([name, { code, message, count, timeMs }]: Refused): Record<string, unknown> {
  const [fleet, device] = name.split('/');
  return { fleet, device, code, message, count, time_ms: timeMs };
}

/** One line a device whose reports were refused; empty without any. */
export const refusedText = (guard: ReportGuard): string => [...guard.allRefused()].map(refusedLine).join('\n');

/** The same for --json. */
export const refusedJson = (guard: ReportGuard): Record<string, unknown>[] => [...guard.allRefused()].map(refusedRow);

/** Devices that one take names; whoever controls a broker can invent any number of them. */
const MOST_NAMED = 10;

/** What was refused since it was asked last, for programs that go on: whoever asks now and then limits how fast a hostile broker can fill a log. */
export class NewRefusals {
  readonly #guard: ReportGuard;
  #counts = new Map<string, number>();

  constructor(guard: ReportGuard) {
    this.#guard = guard;
  }

  /** The devices with new refusals, the latest first, of which at most ten are named; counts are those since the start. */
  take(): { text: string; json: Record<string, unknown>[]; devices: number } {
    const all = [...this.#guard.allRefused()];
    const fresh = all.filter(([name, { count }]) => count !== this.#counts.get(name)).reverse();
    this.#counts = new Map(all.map(([name, { count }]) => [name, count]));
    const named = fresh.slice(0, MOST_NAMED);
    const more = fresh.length - named.length;
    return { text: [...named.map(refusedLine), ...(more === 0 ? [] : [`... and reports of ${more} more ${more === 1 ? 'device' : 'devices'}`])].join('\n'), json: named.map(refusedRow), devices: fresh.length };
  }
}
