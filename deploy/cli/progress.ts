import type { KnownPipeline } from '../publish/devices.js';

/** What a pipeline does about a package, in a few words; null while it says nothing about it. */
export function progressOf({ status, reported, desired }: KnownPipeline, digest: string, generation: number): string | null {
  if (status !== null && status.state !== 'online') return `${status.state}: it begins when it comes back`;
  if (reported === null || (reported.generation_seen ?? -1) < generation) return desired === null ? null : 'waiting for the device';
  const { state, package: candidate, blocks_done: done, blocks_total: total } = reported.ota;
  if (candidate !== null && candidate.digest !== digest) return null;
  return state === 'downloading' && total > 0 ? `downloading ${Math.floor((100 * done) / total)} %` : state.replace('_', ' ');
}

/** Where progress goes: a block of lines that is drawn again on a terminal, else one line a change. */
export interface ProgressOutput {
  /** Standard error, when it is a terminal. */
  terminal: { write(text: string): void; columns: number } | null;
  line(text: string): void;
}

/** Shares of a download below this are one line elsewhere than on a terminal. */
const QUARTER = 25;

/** Progress of several devices. */
export class ProgressView {
  readonly #output: ProgressOutput;
  readonly #texts = new Map<string, string>();
  readonly #printed = new Map<string, string>();
  #drawn = 0;

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  set(device: string, text: string): void {
    if (this.#texts.get(device) === text) return;
    this.#texts.set(device, text);
    if (this.#output.terminal !== null) return this.#draw(this.#output.terminal);
    const coarse = text.replace(/(\d+) %$/, (_, share: string) => `${Math.floor(Number(share) / QUARTER) * QUARTER} %`);
    if (this.#printed.get(device) === coarse) return;
    this.#printed.set(device, coarse);
    this.#output.line(`sterna: ${device}: ${coarse}`);
  }

  #draw(terminal: { write(text: string): void; columns: number }): void {
    const width = Math.max(...[...this.#texts.keys()].map((name) => name.length));
    const lines = [...this.#texts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([device, text]) => `${device.padEnd(width)}  ${text}`.slice(0, terminal.columns - 1));
    const up = this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A`;
    terminal.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`);
    this.#drawn = lines.length;
  }
}

/** Of this process: a terminal on stderr gets the block, unless JSON was asked for. */
export function progressOutput(line: (text: string) => void, json: boolean): ProgressOutput {
  const { stderr } = process;
  return { terminal: !json && stderr.isTTY ? { write: (text) => void stderr.write(text), columns: stderr.columns } : null, line };
}
