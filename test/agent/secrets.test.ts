import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig, startAgent } from '../../agent/main.js';
import { createLog } from '../../agent/platform/log.js';
import { redact } from '../../runtime/redact.js';
import { FakeRuntime } from './support/fake-runtime.js';
import { freePort } from './support/brokers.js';
import { temporaryFolder, until } from './support/tools.js';

describe('a password in an address', () => {
  it.each([
    ['mqtt://me:secret@broker:1883', 'mqtt://***@broker:1883'],
    ['Cannot open rtsp://me:se/cr@et@cam/1: 401, nor rtsps://you:hidden@cam2', 'Cannot open rtsp://***@cam/1: 401, nor rtsps://***@cam2'],
    ['{"url":"wss://token@host/path"}', '{"url":"wss://***@host/path"}'],
    ['mqtt://broker:1883 and mail to me@example.org', 'mqtt://broker:1883 and mail to me@example.org'],
  ])('%s', (text, shown) => { expect(redact(text)).toBe(shown); });

  it('appears neither in the log, nor in the state, nor in faults, nor in an error of the configuration', async () => {
    const lines: string[] = [];
    const runtime = new FakeRuntime();
    runtime.sourceError = new Error('rtsp://me:s3cret@cam/1 answered 401');
    const log = createLog('debug', (line) => lines.push(line));
    const agent = await startAgent(parseConfig({
      state_dir: temporaryFolder(), broker: { url: `mqtt://me:s3cret@127.0.0.1:${await freePort()}` }, camera: { input: 'rtsp://me:s3cret@cam/1' }, api: { port: 0 },
    }), { runtime, log, env: {}, backoff: { baseMs: 10, capMs: 20 } });
    onTestFinished(() => agent.stop());
    await until('camera and broker are missed', () => JSON.stringify(agent.status()['faults']).includes('E_CAMERA_LOST') && JSON.stringify(agent.status()['broker']).includes('E_BROKER_AWAY'));
    expect(lines.some((line) => line.includes('mqtt://***@127.0.0.1'))).toBe(true);
    expect([JSON.stringify(agent.status()), ...lines, ...log.tail(200)].filter((text) => text.includes('s3cret'))).toEqual([]);
    let message = '';
    try {
      parseConfig({ broker: { url: `mqt://me:s3cret${'x'.repeat(100)}@host` } });
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain('mqt://***@host');
  });
});

describe('the state folder', () => {
  it('is its owner\'s alone, also one that an earlier version left readable', async () => {
    const state = join(temporaryFolder(), 'state');
    const config = parseConfig({ state_dir: state, api: { port: 0 } });
    const first = await startAgent(config, { runtime: new FakeRuntime(), log: createLog('error', () => undefined), env: {} });
    await first.stop();
    writeFileSync(join(state, 'old.db'), '');
    for (const name of ['state.db', 'outbox.db', 'api.token', 'old.db']) chmodSync(join(state, name), 0o644);
    chmodSync(state, 0o755);
    const agent = await startAgent(config, { runtime: new FakeRuntime(), log: createLog('error', () => undefined), env: {} });
    onTestFinished(() => agent.stop());
    expect(statSync(state).mode & 0o777).toBe(0o700);
    const open = readdirSync(state).filter((name) => (statSync(join(state, name)).mode & 0o077) !== 0);
    expect(open).toEqual([]);
  });
});
