import { createHash, type Hash } from 'node:crypto';
import { blockCount, decodeBlock, decodePayload, desiredSchema, encodeBitmap, MAX_BLOCK_BYTES, type DesiredPackage, type DeviceTopic, type OtaGet, type PipelineReport } from '../../../agent/contracts/index.js';

/** What the update says to the broker. */
export interface UpdateLink {
  ask(request: OtaGet): void;
  report(pipeline: PipelineReport): void;
}

const WINDOW = 8;
/** As the agent does when nothing comes. */
const STALL_MS = 5000;
const PROBATION_MS = 2000;

interface Download {
  wanted: DesiredPackage;
  blocks: number;
  /** Blocks that came before those in front of them. */
  early: Map<number, Uint8Array>;
  /** The next block that goes into the hash. */
  next: number;
  hash: Hash;
  /** When it asks again. */
  askAtMs: number;
  /** Blocks that were asked for and have not come. */
  open: number;
}

/** The update of one device: it fetches a package block by block, checks its SHA-256, and reports as the agent does. Nothing is kept of the package. */
export class SimulatedUpdate {
  readonly #link: UpdateLink;
  #report: PipelineReport;
  #download: Download | null = null;
  #provenAtMs = Infinity;
  /** Packages that were fetched completely and have the digest that was asked for. */
  updated = 0;

  constructor(link: UpdateLink, report: PipelineReport) {
    this.#link = link;
    this.#report = { ...report, generation_seen: null, generation_applied: null };
  }

  get report(): PipelineReport {
    return this.#report;
  }

  /** A message to the device. */
  take(topic: DeviceTopic, payload: Uint8Array, nowMs: number): void {
    if (topic.kind === 'desired') this.#want(payload, nowMs);
    else if (topic.kind === 'ota_block') this.#block(payload, nowMs);
  }

  /** Call it a few times a second. */
  poll(nowMs: number): void {
    if (this.#download !== null && nowMs >= this.#download.askAtMs) this.#ask(this.#download, nowMs);
    if (nowMs < this.#provenAtMs) return;
    this.#provenAtMs = Infinity;
    this.#say({ probation: false });
  }

  #say(over: Partial<PipelineReport>): void {
    this.#report = { ...this.#report, ...over };
    this.#link.report(this.#report);
  }

  #want(payload: Uint8Array, nowMs: number): void {
    const { generation, package: wanted, settings } = decodePayload(desiredSchema, payload);
    if (wanted === null || generation <= (this.#report.generation_seen ?? -1)) return;
    const blocks = blockCount(wanted.size_bytes, MAX_BLOCK_BYTES);
    this.#download = { wanted, blocks, early: new Map(), next: 0, hash: createHash('sha256'), askAtMs: 0, open: 0 };
    this.#say({ generation_seen: generation, settings, ota: { state: 'downloading', package: wanted, blocks_done: 0, blocks_total: blocks, error: null } });
    this.#ask(this.#download, nowMs);
  }

  #ask(download: Download, nowMs: number): void {
    const { wanted: { digest, size_bytes }, blocks, next, early } = download;
    const missing = Array.from({ length: blocks - next }, (_, i) => next + i).filter((index) => !early.has(index));
    download.askAtMs = nowMs + STALL_MS;
    download.open = Math.min(WINDOW, missing.length);
    this.#link.ask({ schema_version: 2, digest, size_bytes, block_bytes: MAX_BLOCK_BYTES, first_block: next, bitmap: encodeBitmap(next, missing), window: WINDOW });
  }

  #block(payload: Uint8Array, nowMs: number): void {
    const download = this.#download;
    if (download === null) return;
    const { index, busy, payload: bytes } = decodeBlock(payload);
    if (busy) {
      download.askAtMs = nowMs + Buffer.from(bytes).readUInt32LE(0);
      return;
    }
    if (index < download.next || download.early.has(index)) return;
    download.early.set(index, Uint8Array.from(bytes));
    for (let block = download.early.get(download.next); block !== undefined; block = download.early.get(download.next)) {
      download.hash.update(block);
      download.early.delete(download.next);
      download.next += 1;
    }
    download.open -= 1;
    if (download.next === download.blocks) this.#complete(download, nowMs);
    else if (download.open <= 0) this.#ask(download, nowMs);
  }

  #complete({ wanted, blocks, hash }: Download, nowMs: number): void {
    this.#download = null;
    const ota = { package: wanted, blocks_done: blocks, blocks_total: blocks };
    if (hash.digest('hex') !== wanted.digest) return this.#say({ ota: { ...ota, state: 'rejected', error: { code: 'E_OTA_DIGEST', message: 'The package differs from its digest' } } });
    this.updated += 1;
    this.#provenAtMs = nowMs + PROBATION_MS;
    const { slots, generation_seen: generation } = this.#report;
    this.#say({ generation_applied: generation, slots: { active: { ...wanted, since_ms: nowMs }, previous: slots.active }, probation: true, ota: { ...ota, state: 'committed', error: null } });
  }
}
