import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { DeployError } from '../errors.js';
import { DeviceClient } from './device-client.js';

export interface DeviceOptions {
  /** Of its own: configuration, journal, packages, gallery. */
  folder: string;
  /** As in sterna.yaml. The state folder is `state` in `folder`, and the API gets a free port of loopback. */
  config: Readonly<Record<string, unknown>>;
  /** ffmpeg that it must use. Default: that of the machine. */
  ffmpeg?: string;
  signal?: AbortSignal;
}

const START_TIMEOUT_MS = 30_000;
/** A daemon that does not stop on SIGTERM within this is killed. */
const STOP_TIMEOUT_MS = 10_000;
const KEPT_LOG_LINES = 12;

/** A device agent as a child process. */
export class DeviceProcess {
  readonly #options: DeviceOptions;
  readonly #log: string[] = [];
  #child: ChildProcessByStdio<Writable, null, Readable> | null = null;
  #ended: Promise<void> = Promise.resolve();
  #client: DeviceClient | null = null;
  #onExit: (error: DeployError) => void = () => undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
  }

  /** Called when the daemon ends although nobody stopped it. */
  onUnexpectedExit(handler: (error: DeployError) => void): void {
    this.#onExit = handler;
  }

  /** Number of the process; null when none runs. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get client(): DeviceClient {
    if (this.#client === null) throw new DeployError('E_AGENT', 'The device was not started');
    return this.#client;
  }

  /** Resolves when its local API answers. @throws DeployError E_AGENT with its last words */
  async start(): Promise<void> {
    if (this.#child !== null) return;
    const { folder, ffmpeg, signal } = this.#options;
    const port = await freePort();
    await mkdir(folder, { recursive: true });
    const configPath = join(folder, 'sterna.yaml');
    await writeFile(configPath, stringify(this.#config(port)));
    const child = spawn(process.execPath, [childScript(), '--config', configPath], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, ...(ffmpeg === undefined ? {} : { STERNA_FFMPEG: ffmpeg }) },
    });
    this.#child = child;
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#note(text));
    this.#ended = new Promise((resolve) => child.once('close', () => resolve()));
    child.once('exit', (code, why) => {
      const stopped = this.#child === null;
      this.#child = null;
      if (!stopped) this.#onExit(this.#failure(`it ended with ${code === null ? `signal ${why ?? '?'}` : `exit code ${code}`}`));
    });
    const client = new DeviceClient(`http://127.0.0.1:${port}`, join(folder, 'state', 'api.token'));
    await this.#untilReady(client, signal);
    this.#client = client;
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return this.#ended;
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(killer);
  }

  async #untilReady(client: DeviceClient, signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#child === null) throw this.#failure('it ended while starting');
      if (await client.answers()) return;
      if (Date.now() > deadline) throw this.#failure(`its local API did not answer within ${START_TIMEOUT_MS / 1000} s`);
      await sleep(50);
    }
  }

  #config(port: number): Record<string, unknown> {
    const { folder, config } = this.#options;
    return { ...config, state_dir: join(folder, 'state'), log_level: 'warn', api: { host: '127.0.0.1', port } };
  }

  #note(text: string): void {
    this.#log.push(...text.split('\n').filter((line) => line.trim() !== ''));
    this.#log.splice(0, this.#log.length - KEPT_LOG_LINES);
  }

  #failure(what: string): DeployError {
    const words = this.#log.length === 0 ? '' : ` Its last words:\n${this.#log.map((line) => `  ${line}`).join('\n')}`;
    return new DeployError('E_AGENT', `The device agent failed: ${what}.${words}`, { details: { log: [...this.#log] } });
  }
}

/** Compiled beside this file; from TypeScript sources (tests) in the build's folder. */
function childScript(): string {
  const beside = fileURLToPath(new URL('./device-child.js', import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL('../../dist/deploy/demo/device-child.js', import.meta.url));
}

/** A loopback port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
