/** What receivers of metrics have in common: one POST for a batch, and what its answer means. */
import { readFileSync } from 'node:fs';
import type { DeviceAddress } from '../../agent/contracts/index.js';
import { redact } from '../../runtime/redact.js';
import { fetchMessageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import type { HostFacts, Moment } from './device-state.js';

const TIMEOUT_MS = 10_000;
/** A receiver may ask for a pause, but not for ever. */
const MOST_PAUSE_MS = 300_000;
const MOST_ANSWER = 300;

/** What is sent of a device at once: its windows in the order of their times. */
export interface DeviceExport {
  address: DeviceAddress;
  /** Null until the device has said what it is. */
  host: HostFacts | null;
  moments: readonly Moment[];
}

/** `refused`: sending it again would not help. `divisible`: the reason may be one device, or the size of the batch. */
export type Verdict = { taken: true; rejectedPoints: number; message: string } | { taken: false; message: string; divisible: boolean };

export interface Receiver {
  /** For people. */
  readonly name: string;
  /** @throws DeployError E_EXPORT when the same batch may be taken later */
  send(devices: readonly DeviceExport[]): Promise<Verdict>;
}

export interface PostOptions {
  url: string;
  /** Of every request, besides those of the protocol: authorization, tenant. */
  headers: Readonly<Record<string, string>>;
}

/** Posts batches to one address. */
export class Poster {
  readonly #name: string;
  readonly #options: PostOptions;
  readonly #retryable: (status: number) => boolean;
  #notBeforeMs = 0;

  /** @param retryable the answers after which the protocol wants a batch to be sent again */
  constructor(name: string, options: PostOptions, retryable: (status: number) => boolean) {
    this.#name = name;
    this.#options = options;
    this.#retryable = retryable;
  }

  /** @throws DeployError E_EXPORT when the same batch may be taken later: no connection, no answer, or an answer that says so */
  async post(body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<{ status: number; body: Uint8Array }> {
    const waitMs = this.#notBeforeMs - Date.now();
    if (waitMs > 0) throw this.#failed(`it asked to wait, for another ${Math.ceil(waitMs / 1000)} s`);
    let response: Response;
    let answer: Uint8Array;
    try {
      response = await fetch(this.#options.url, { method: 'POST', body: new Uint8Array(body), headers: { ...headers, ...this.#options.headers }, redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MS) });
      answer = new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw this.#failed(fetchMessageOf(cause), cause);
    }
    if (this.#retryable(response.status)) {
      this.#notBeforeMs = Date.now() + pauseOf(response.headers.get('retry-after'), Date.now());
      throw this.#failed(`status ${response.status}: ${textOf(answer)}`);
    }
    return { status: response.status, body: answer };
  }

  #failed(why: string, cause?: unknown): DeployError {
    return new DeployError('E_EXPORT', `${this.#name} at ${redact(this.#options.url)} takes nothing now: ${why}`, { cause });
  }
}

/** What an answer other than 2xx means. 400 and 413 may be the fault of one device or of the size; the others are the fault of the request as a whole. */
export const refusal = (status: number, body: Uint8Array): Verdict => ({ taken: false, message: `status ${status}: ${textOf(body)}`, divisible: status === 400 || status === 413 });

export const isSuccess = (status: number): boolean => status >= 200 && status < 300;

const textOf = (body: Uint8Array): string => Buffer.from(body).toString('utf8').replace(/[^\x20-\x7e]+/g, ' ').trim().slice(0, MOST_ANSWER) || 'no reason given';

/** RFC 9110, 10.2.3: seconds, or a date. */
export function pauseOf(retryAfter: string | null, nowMs: number): number {
  if (retryAfter === null) return 0;
  const ms = /^\d+$/.test(retryAfter.trim()) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - nowMs;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MOST_PAUSE_MS) : 0;
}

/** Headers from a file, `Name: value` a line, so that no secret is on the command line. @throws DeployError E_FILE, E_USAGE */
export function readHeaders(path: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new DeployError('E_FILE', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause, details: { path } });
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line, i) => {
    const [, name, value] = /^([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]+)$/.exec(line.trimEnd()) ?? [];
    if (name === undefined || value === undefined) throw new DeployError('E_USAGE', `Expected lines of "Name: value" in ${path}, but line ${i + 1} is not one`);
    return [name, value];
  }));
}
