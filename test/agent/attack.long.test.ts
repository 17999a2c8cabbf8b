/** All attacks at once on a daemon of its own: what it takes in memory, whether it answers, whether it obeys. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freePort } from './support/brokers.js';
import { HostileBroker, pour, publishHead } from './support/hostile-broker.js';
import { temporaryFolder, until } from './support/tools.js';

const entry = resolve(import.meta.dirname, '../../dist/agent/main.js');
const MB = 1024 * 1024;
const RSS_BOUND_MB = 200;
const ATTACK_MS = 8000;

function message(topic: string, payload: string): Buffer {
  return Buffer.concat([publishHead(topic, Buffer.byteLength(payload)), Buffer.from(payload)]);
}

/** 2000 valid `desired` and 500 commands, then 200 MB in one message; the same at each connection. */
function attackDevice(socket: Socket): void {
  for (let i = 1; i <= 2000; i++) socket.write(message('sterna/v2/test/door/desired', JSON.stringify({ schema_version: 2, generation: i, settings: {}, package: null })));
  for (let i = 0; i < 500; i++) socket.write(message('sterna/v2/test/door/cmd/log-tail', JSON.stringify({ schema_version: 2, id: `c${i}`, args: {} })));
  socket.write(publishHead('sterna/v2/test/door/desired', 200 * MB));
  void pour(socket, 200 * MB);
}

/** One body of 31 MB, as fast as it is taken; the daemon may hang up at any time. */
function attackApi(port: number, authorization: string): void {
  const socket = createConnection(port, '127.0.0.1', () => {
    socket.write(`POST /api/gallery HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${authorization}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: ${31 * MB}\r\n\r\n`);
    void pour(socket, 31 * MB).then(() => socket.destroy());
  });
  socket.on('error', () => undefined);
}

/** Asks for everything and reads nothing. */
function deafReader(port: number, authorization: string): Socket {
  const socket = createConnection(port, '127.0.0.1', () => socket.write(`GET /api/events?since=0&frames=1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${authorization}\r\n`));
  return socket.pause().on('error', () => undefined);
}

/** Asks /health from a thread of its own, since the attacks keep this one busy. Resolves to the status and the milliseconds it took. */
class HealthProbe {
  readonly #worker: Worker;

  constructor(port: number) {
    const program = `
      const { parentPort } = require('node:worker_threads');
      parentPort.on('message', async () => {
        const asked = performance.now();
        const status = await fetch('http://127.0.0.1:${port}/health', { signal: AbortSignal.timeout(20000) }).then((answer) => answer.status, () => 0);
        parentPort.postMessage({ status, ms: performance.now() - asked });
      });`;
    this.#worker = new Worker(program, { eval: true });
  }

  ask(): Promise<{ status: number; ms: number }> {
    return new Promise((done) => {
      this.#worker.once('message', done);
      this.#worker.postMessage(null);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

describe('a daemon under attack by broker and local clients', () => {
  it('stays within its memory, answers /health, and obeys SIGTERM', async () => {
    expect(existsSync(entry)).toBe(true);
    const broker = await HostileBroker.start();
    broker.onOnline = attackDevice;
    const port = await freePort();
    const state = join(temporaryFolder(), 'state');
    const child = spawn(process.execPath, [entry], { stdio: 'ignore', env: { ...process.env, STERNA_DEVICE_ID: 'door', STERNA_FLEET: 'test', STERNA_STATE_DIR: state, STERNA_BROKER_URL: broker.url, STERNA_API_PORT: String(port), STERNA_LOG_LEVEL: 'error', STERNA_TRUST_UNSIGNED: 'true' } });
    let exit: { code: number | null; signal: NodeJS.Signals | null } | null = null;
    child.once('exit', (code, signal) => { exit = { code, signal }; });
    onTestFinished(() => void child.kill('SIGKILL'));
    const probe = new HealthProbe(port);
    onTestFinished(() => probe.stop());
    await until('it answers', async () => (await probe.ask()).status === 200, 60_000);
    const authorization = `Authorization: Bearer ${readFileSync(join(state, 'api.token'), 'utf8').trim()}\r\n`;
    const readers = Array.from({ length: 8 }, () => deafReader(port, authorization));
    onTestFinished(() => { for (const reader of readers) reader.destroy(); });
    const end = Date.now() + ATTACK_MS;
    let peakMb = 0;
    let slowestMs = 0;
    while (Date.now() < end) {
      for (let i = 0; i < 20; i++) attackApi(port, i % 2 === 0 ? authorization : '');
      const health = await probe.ask();
      expect(health.status).toBe(200);
      slowestMs = Math.max(slowestMs, health.ms);
      peakMb = Math.max(peakMb, Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8'))?.[1]) / 1024);
      await new Promise((done) => { setTimeout(done, 500); });
    }
    const asked = performance.now();
    child.kill('SIGTERM');
    await until('it has ended', () => exit !== null, 30_000);
    process.stderr.write(`measured: peak ${peakMb.toFixed(0)} MB resident, slowest /health ${slowestMs.toFixed(0)} ms, SIGTERM obeyed in ${(performance.now() - asked).toFixed(0)} ms, ${broker.connections} connections of the broker\n`);
    expect(peakMb).toBeLessThan(RSS_BOUND_MB);
    expect(exit).toEqual({ code: 0, signal: null });
  }, 150_000);
});
