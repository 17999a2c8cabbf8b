/**
 * Fetches pieces from a web server with range requests, in place of a publisher. The server is not trusted: every chunk and the list of chunks have
 * signed hashes. It is given no more than a window of memory, redirects are not followed, and whatever it does has a code of its own.
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { messageOf } from '../../runtime/errors.js';
import { requestedBlocks, type OtaGet } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import { readSecret } from '../platform/credentials.js';
import { redact } from '../../runtime/redact.js';
import type { BlockLink } from './block-fetch.js';
import type { Pieces } from './pieces.js';

export interface WebOptions {
  /** What the paths of files are appended to. */
  url: string;
  /** PEM file of the authority of the server; the system's authorities when absent. */
  ca?: string | undefined;
  /** PEM files of the device's own certificate and key, for a server that asks for them. */
  cert?: string | undefined;
  key?: string | undefined;
}

export interface WebLinkParts {
  pieces: Pieces;
  web: WebOptions;
  /** Milliseconds in which at least a byte must come. */
  stallMs: number;
  deliver: (index: number, bytes: Uint8Array) => void;
  fail: (error: unknown) => void;
}

/** Where a package, or its list of chunks, is on a server that hosts the folder `image` of a repository. */
export function webPath({ digest, list_of: listOf }: Pieces['request']): string {
  return listOf === undefined ? `packages/${digest}.sterna` : `chunks/${digest}.chunks`;
}

export class WebLink implements BlockLink {
  readonly #parts: WebLinkParts;
  readonly #url: string;
  readonly #agent: HttpAgent;
  #closed = false;
  #current: ClientRequest | null = null;
  /** Numbers of the pieces that are still to be fetched, those of the present request included. */
  #waiting: number[] = [];
  #working = false;

  /** The files are read at each download, so that a renewed certificate is used. @throws AgentError E_OTA_WEB_CONNECT when one cannot be read */
  constructor(parts: WebLinkParts) {
    const { web: { url, ...files }, pieces } = parts;
    this.#parts = parts;
    this.#url = `${url.replace(/\/+$/, '')}/${webPath(pieces.request)}`;
    const one = { keepAlive: true, maxSockets: 1 };
    this.#agent = url.startsWith('https:') ? new HttpsAgent({ ...one, ...readPems(files) }) : new HttpAgent(one);
  }

  isConnected(): boolean {
    return true;
  }

  request(wanted: OtaGet): void {
    this.#waiting.push(...requestedBlocks(wanted, this.#parts.pieces.count).filter((index) => !this.#waiting.includes(index)));
    if (!this.#working) void this.#work();
  }

  close(): void {
    this.#closed = true;
    this.#current?.destroy();
    this.#agent.destroy();
  }

  async #work(): Promise<void> {
    this.#working = true;
    try {
      while (this.#waiting.length > 0 && !this.#closed) {
        let run = 1;
        while (run < this.#waiting.length && this.#waiting[run] === (this.#waiting[run - 1] ?? 0) + 1) run += 1;
        await this.#fetch(this.#waiting.slice(0, run));
      }
    } catch (error) {
      this.#waiting = [];
      if (!this.#closed) this.#parts.fail(error);
    } finally {
      this.#working = false;
    }
  }

  /** Fetches pieces that follow each other, and delivers each as soon as it is whole. */
  async #fetch(run: readonly number[]): Promise<void> {
    const { pieces, deliver } = this.#parts;
    const start = pieces.offset(run[0] ?? 0);
    const size = run.reduce((sum, index) => sum + pieces.length(index), 0);
    const answer = await this.#get(start, start + size - 1);
    const body = Buffer.allocUnsafe(size);
    let [filled, next] = [0, 0];
    try {
      for await (const part of answer as AsyncIterable<Buffer>) {
        if (filled + part.length > size) throw new AgentError('E_OTA_WEB_SIZE', `${this.#name} sends more than the ${size} bytes that were asked for`);
        filled += part.copy(body, filled);
        for (let index = run[next]; index !== undefined && pieces.offset(index) + pieces.length(index) - start <= filled; index = run[next]) {
          const at = pieces.offset(index) - start;
          this.#waiting = this.#waiting.filter((other) => other !== index);
          next += 1;
          deliver(index, body.subarray(at, at + pieces.length(index)));
        }
      }
    } catch (cause) {
      if (cause instanceof AgentError) throw cause;
      throw new AgentError('E_OTA_WEB_SIZE', `${this.#name} ended after ${filled} of ${size} bytes: ${messageOf(cause)}`, { cause });
    } finally {
      answer.destroy();
    }
    if (filled < size) throw new AgentError('E_OTA_WEB_SIZE', `${this.#name} ended after ${filled} of ${size} bytes`);
  }

  #get(first: number, last: number): Promise<IncomingMessage> {
    const { stallMs, pieces: { sizeBytes } } = this.#parts;
    const request = this.#url.startsWith('https:') ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const sent = request(this.#url, { agent: this.#agent, headers: { range: `bytes=${first}-${last}`, 'accept-encoding': 'identity' } }, (answer) => {
        answer.on('error', () => undefined); // Whoever reads it hears of it too; when nobody does, it is one that is not wanted any more.
        const problem = this.#problemOf(answer, `bytes ${first}-${last}/${sizeBytes}`);
        if (problem === null) return resolve(answer);
        answer.destroy();
        reject(problem);
      });
      this.#current = sent;
      sent.setTimeout(stallMs, () => void sent.destroy(new Error(`nothing came for ${stallMs} ms`)));
      sent.on('error', (cause) => reject(new AgentError('E_OTA_WEB_CONNECT', `${this.#name} cannot be used: ${messageOf(cause)}`, { cause })));
      sent.end();
    });
  }

  #problemOf({ statusCode: status = 0, headers }: IncomingMessage, range: string): AgentError | null {
    if (status >= 300 && status < 400) return new AgentError('E_OTA_WEB_REDIRECT', `${this.#name} redirects (${status}), which is not followed: set ota.web.url to where the files are`);
    if (status === 200) return new AgentError('E_OTA_WEB_RANGE', `${this.#name} answers with the whole file: it must support range requests`);
    if (status !== 206) return new AgentError('E_OTA_WEB_STATUS', `${this.#name} answers with status ${status}`);
    if (headers['content-range'] !== range) return new AgentError('E_OTA_WEB_RANGE', `Expected ${range} of ${this.#name} but received ${(headers['content-range'] ?? 'no Content-Range').slice(0, 80)}`);
    return null;
  }

  get #name(): string {
    return redact(this.#url);
  }
}

function readPems(files: Omit<WebOptions, 'url'>): { ca?: Buffer; cert?: Buffer; key?: Buffer } {
  const read = (name: 'ca' | 'cert' | 'key', path: string | undefined): Partial<Record<typeof name, Buffer>> => {
    try {
      return path === undefined ? {} : { [name]: readSecret(path) };
    } catch (cause) {
      throw new AgentError('E_OTA_WEB_CONNECT', `The file of ota.web.${name} cannot be read: ${messageOf(cause)}`, { cause });
    }
  };
  return { ...read('ca', files.ca), ...read('cert', files.cert), ...read('key', files.key) };
}
