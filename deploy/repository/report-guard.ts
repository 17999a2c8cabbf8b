import { ContractError, decodePayload, decodeUnverified, isOlder, isSignedBy, reportedSchema, requireNewerReport, type DeviceAddress, type Reported, type ReportOrder } from '../../agent/contracts/index.js';
import type { ReportKeys } from './report-keys.js';
import type { ReportMemory } from './report-memory.js';

/** The latest report of a device that was refused, and how many there were since the start. */
export interface RefusedReports {
  code: string;
  message: string;
  count: number;
  /** By this side's clock. */
  timeMs: number;
}

export interface ReportGuardOptions {
  /** Null: nobody's reports can be verified, and all are believed. */
  keys: ReportKeys | null;
  /** Takes reports without a signature, also of devices that have a certificate: for devices of earlier versions. Default false. */
  acceptUnsigned?: boolean;
  /** Of verified reports that were believed before this start. Absent: a report that was held back then can be shown again. */
  memory?: ReportMemory;
}

/** Devices whose refused reports are remembered; a hostile broker can invent any number of names. */
const MAX_REMEMBERED = 1000;
const CODES: ReadonlySet<string> = new Set(['E_REPORT_FORGED', 'E_REPORT_UNSIGNED', 'E_REPORT_REPLAYED']);

/** Whether an error says that a report is not believed, and not that it is none. */
export const isRefusal = (error: unknown): error is ContractError => error instanceof ContractError && CODES.has(error.code);

/** Every report comes through here before anybody believes it. A report keeps its signature only if it was verified. */
export class ReportGuard {
  readonly #options: ReportGuardOptions;
  readonly #refused = new Map<string, RefusedReports>();
  /** By device and key, the newest believed since the start, of which there are no more than certificates. */
  readonly #newest = new Map<string, ReportOrder>();
  /** Reports that were refused since the start. */
  count = 0;

  constructor(options: ReportGuardOptions = { keys: null }) {
    this.#options = options;
  }

  /** Whether signatures are verified. */
  get verifies(): boolean {
    return this.#options.keys !== null;
  }

  /** @throws ContractError for what is no report; E_REPORT_FORGED, E_REPORT_UNSIGNED */
  read(address: DeviceAddress, payload: Uint8Array): Reported {
    return this.#counted(address, () => this.#read(address, payload));
  }

  /** @throws ContractError E_REPORT_REPLAYED */
  requireNewer(address: DeviceAddress, next: Reported, known: Reported | null): void {
    this.#counted(address, () => {
      requireNewerReport(next, known);
      this.#requireUnseen(address, next);
    });
  }

  /**
   * The first report of a device after a start must not be older than the newest before it. Later ones are compared with what their reader knows: another program
   * that shares the memory may be a report ahead.
   */
  #requireUnseen(address: DeviceAddress, { signature, order }: Reported): void {
    const { memory } = this.#options;
    if (memory === undefined || signature === undefined || order === undefined) return;
    const name = `${address.fleet}/${address.device}/${signature.key}`;
    const here = this.#newest.get(name);
    const before = here ?? memory.newest(address, signature.key);
    if (here === undefined && before !== null && isOlder(order, before)) {
      throw new ContractError('E_REPORT_REPLAYED', `A report ${order.birth_seq}/${order.seq} of ${address.fleet}/${address.device} is older than the report ${before.birth_seq}/${before.seq} that was believed before this program started; somebody held it back or sent it again. If the device has lost its state while its clock was wrong, give it a new certificate, or move ${memory.path} away`);
    }
    if (here !== undefined && !isOlder(here, order)) return;
    this.#newest.set(name, order);
    memory.note(address, signature.key, order);
  }

  /** Null: none of this device. */
  refused({ fleet, device }: DeviceAddress): RefusedReports | null {
    return this.#refused.get(`${fleet}/${device}`) ?? null;
  }

  /** By `fleet/device`, the latest refusals last. */
  allRefused(): ReadonlyMap<string, RefusedReports> {
    return this.#refused;
  }

  #read(address: DeviceAddress, payload: Uint8Array): Reported {
    const { keys, acceptUnsigned = false } = this.#options;
    if (keys === null) return decodeUnverified(payload);
    const report = decodePayload(reportedSchema, payload);
    const known = keys.of(address);
    if (report.signature !== undefined && isSignedBy(known.keys, address, payload)) return report;
    const name = `${address.fleet}/${address.device}`;
    const why = known.problems.length === 0 ? '' : ` (${known.problems.join('; ')})`;
    // Whoever can take a signature away can put another one there, so one of a device without a certificate is as good as none.
    if (report.signature !== undefined && (known.keys.length > 0 || !acceptUnsigned)) {
      const reason = known.keys.length === 0 ? `${keys.source} has no certificate of it${why}` : `no certificate of it in ${keys.source} has signed it: somebody else wrote or changed it, or the device has another certificate than this folder${why}`;
      throw new ContractError('E_REPORT_FORGED', `A report of ${name} is not believed: ${reason}`);
    }
    if (!acceptUnsigned) throw new ContractError('E_REPORT_UNSIGNED', `A report of ${name} is not believed, because it is not signed. If its agent is older than signed reports or logs in without a certificate, update it, or allow unsigned reports`);
    return decodeUnverified(payload);
  }

  #counted<T>(address: DeviceAddress, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (isRefusal(error)) this.#note(address, error);
      throw error;
    }
  }

  #note({ fleet, device }: DeviceAddress, { code, message }: ContractError): void {
    this.count += 1;
    const name = `${fleet}/${device}`;
    const count = (this.#refused.get(name)?.count ?? 0) + 1;
    this.#refused.delete(name);
    this.#refused.set(name, { code, message, count, timeMs: Date.now() });
    for (const oldest of this.#refused.size > MAX_REMEMBERED ? this.#refused.keys() : []) {
      this.#refused.delete(oldest);
      break;
    }
  }
}
