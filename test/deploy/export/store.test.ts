/** What is sent when: totals over windows, batches that are refused, receivers that are away, and restarts between any two steps. */
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { countOf } from '../../../agent/contracts/index.js';
import { DeviceState } from '../../../deploy/export/device-state.js';
import { ExportStore, type ExportOptions } from '../../../deploy/export/export-store.js';
import { OtlpReceiver } from '../../../deploy/export/otlp.js';
import { pauseOf, readHeaders, type DeviceExport, type Receiver, type Verdict } from '../../../deploy/export/receiver.js';
import { RemoteWriteReceiver } from '../../../deploy/export/remote-write.js';
import { DeployError } from '../../../deploy/errors.js';
import { codeOf } from '../../support/code-of.js';
import { temporaryFolder } from '../../agent/support/tools.js';
import { captureCli } from '../cli/capture.js';
import { DOOR, telemetry } from '../fixtures.js';
import { capsOf, NOW, readOtlp, scriptedServer, windowOf } from './support.js';

const TAKEN: Verdict = { taken: true, rejectedPoints: 0, message: '' };

/** A receiver that decides by what it is sent, and keeps what it took. */
class ScriptedReceiver implements Receiver {
  readonly name = 'The receiver';
  readonly sent: (readonly DeviceExport[])[] = [];
  decide: (devices: readonly DeviceExport[]) => Verdict | 'away' = () => TAKEN;

  send(devices: readonly DeviceExport[]): Promise<Verdict> {
    const verdict = this.decide(devices);
    if (verdict === 'away') return Promise.reject(new DeployError('E_EXPORT', 'away'));
    if (verdict.taken) this.sent.push(devices);
    return Promise.resolve(verdict);
  }

  /** By device: values of the raw warm latencies at each time. */
  latencies(device: string = DOOR.device): [timeMs: number, count: number][] {
    return this.sent.flat().filter(({ address }) => address.device === device).flatMap(({ moments }) => moments.flatMap(({ timeMs, latencies }) =>
      latencies.filter(({ name, labels }) => name === 'latency_milliseconds' && labels['kind'] === 'warm').map(({ histogram }): [number, number] => [timeMs, countOf(histogram)])));
  }
}

function storeOf(receiver: Receiver, over: Partial<ExportOptions> = {}): ExportStore {
  const store = new ExportStore(receiver, { file: null, maxDevices: 3, sendLate: false, ...over });
  onTestFinished(() => store.close());
  return store;
}

describe('totals of a device', () => {
  it('grow with each window once, and latencies that came late are in the next', async () => {
    const receiver = new ScriptedReceiver();
    const store = storeOf(receiver);
    expect(await store.commit([windowOf(1), windowOf(1), windowOf(4), windowOf(2, { backfill: true })])).toEqual(['added', 'duplicate', 'added', 'added']);
    expect(await store.commit([windowOf(3, { backfill: true })])).toEqual(['added']);
    expect(await store.commit([windowOf(5)])).toEqual(['added']);
    expect(receiver.latencies()).toEqual([[NOW + 1000, 40], [NOW + 4000, 80], [NOW + 5000, 200]]);
    expect(store.stats).toMatchObject({ windows: 3, late: 2, requests: 2 });
  });

  it('say when counters began, which is anew after a restart of the agent', () => {
    const state = new DeviceState();
    const since = (seq: number, boot: string): number | undefined => state.take(DOOR, telemetry(seq, NOW + 5000 * seq, { boot_id: boot, stream_id: 'stream-0001' }), { receivedMs: NOW + 60_000, sendLate: false }).moment?.countersSinceMs;
    expect([since(1, 'boot-0001'), since(2, 'boot-0001'), since(3, 'boot-0002')]).toEqual([NOW, NOW, NOW + 10_000]);
  });

  it('take the time of arrival of a device that does not know the time, or is years ahead', async () => {
    const receiver = new ScriptedReceiver();
    const store = storeOf(receiver);
    await store.commit([windowOf(1, { end_ms: 5, clock_synchronized: false }, { receivedMs: NOW })]);
    await store.commit([windowOf(2, { end_ms: NOW + 9e10 }, { receivedMs: NOW + 1000 })]);
    await store.commit([windowOf(3, { end_ms: NOW + 2000 }, { receivedMs: NOW + 2100 })]);
    expect(receiver.latencies()).toEqual([[NOW, 40], [NOW + 1000, 80], [NOW + 2000, 120]]);
  });

  it('send gauges of late windows with their own time when asked to', async () => {
    const receiver = new ScriptedReceiver();
    const store = storeOf(receiver, { sendLate: true });
    await store.commit([windowOf(5)]);
    await store.commit([windowOf(2, { backfill: true })]);
    expect(receiver.sent[1]?.[0]?.moments).toMatchObject([{ timeMs: NOW + 2000, latencies: [] }]);
    expect(receiver.sent[1]?.[0]?.moments[0]?.samples).toContainEqual(expect.objectContaining({ name: 'temperature_celsius', value: 51.5 }));
  });

  it('are of a bounded number of series and streams, whatever a device makes up', () => {
    const state = new DeviceState();
    for (let i = 0; i < 300; i++) state.take(DOOR, telemetry(i, NOW + i, { stream_id: `stream-${1000 + i}`, model: { name: 'm', version: String(i) } }), { receivedMs: NOW + 60_000, sendLate: false });
    const { series, streams } = JSON.parse(state.toString()) as { series: unknown[]; streams: unknown[] };
    expect([series.length, streams.length]).toEqual([256, 8]);
    expect(DeviceState.from(state.toString()).toString()).toBe(state.toString());
  });

  it('lose and double nothing, whenever the receiver or the program fails', async () => {
    const step = fc.record({ seqs: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 }), fate: fc.constantFrom('taken', 'away', 'killed before', 'killed after') });
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
      const [receiver, folder] = [new ScriptedReceiver(), temporaryFolder()];
      const open = (): ExportStore => new ExportStore(receiver, { file: join(folder, 'state.sqlite'), maxDevices: 3, sendLate: false });
      let store = open();
      // What is not acknowledged comes again first, in the same order, as a broker sends it.
      let pending: number[] = [];
      for (const { seqs, fate } of steps) {
        receiver.decide = () => (fate === 'away' ? 'away' : TAKEN);
        pending.push(...seqs);
        if (fate === 'killed before') store.close(); // between the answer of the receiver and the commit: the state cannot be written any more
        if (await store.commit(pending.map((seq) => windowOf(seq))).catch(() => null) !== null) pending = [];
        if (fate.startsWith('killed')) {
          store.close();
          store = open();
        }
      }
      receiver.decide = () => TAKEN;
      await store.commit([...pending.map((seq) => windowOf(seq)), ...Array.from({ length: 12 }, (_, i) => windowOf(i + 1)), windowOf(20)]);
      store.close();
      const all = receiver.latencies();
      expect(all.at(-1)).toEqual([NOW + 20_000, 13 * 40]);
      // The same time always has the same total, so what comes again changes nothing; and totals only grow.
      const byTime = new Map<number, Set<number>>();
      for (const [timeMs, count] of all) byTime.set(timeMs, (byTime.get(timeMs) ?? new Set()).add(count));
      const totals = [...byTime].sort(([a], [b]) => a - b).map(([, counted]) => [...counted]);
      expect(totals.every((counted) => counted.length === 1)).toBe(true);
      expect(totals).toEqual([...totals].sort(([a = 0], [b = 0]) => a - b));
    }), { numRuns: 25 });
  });
});

describe('a receiver', () => {
  it('that refuses a batch gets all of it but the device for which it does', async () => {
    const receiver = new ScriptedReceiver();
    receiver.decide = (devices) => (devices.some(({ address }) => address.device === 'bad') ? { taken: false, message: 'status 400: out of order', divisible: true } : TAKEN);
    const said: string[] = [];
    const store = storeOf(receiver, { onRefused: (message) => said.push(message) });
    const outcomes = await store.commit(['a', 'bad', 'c'].map((device) => windowOf(1, {}, { device })));
    expect(outcomes).toEqual(['added', 'added', 'added']);
    expect(receiver.sent.flat().map(({ address: { device } }) => device)).toEqual(['a', 'c']);
    expect(store.stats).toMatchObject({ windows: 2, windowsRefused: 1 });
    expect(said).toEqual(['The receiver refused 1 windows of demo/bad: status 400: out of order']);
    receiver.decide = () => TAKEN;
    await store.commit([windowOf(2, {}, { device: 'bad' })]);
    expect(receiver.latencies('bad')).toEqual([[NOW + 2000, 80]]);
  });

  it('that refuses for another reason is not asked again with parts', async () => {
    const receiver = new ScriptedReceiver();
    receiver.decide = () => ({ taken: false, message: 'status 401', divisible: false });
    const store = storeOf(receiver);
    await store.commit(['a', 'b'].map((device) => windowOf(1, {}, { device })));
    expect(store.stats).toMatchObject({ requests: 1, windows: 0, windowsRefused: 2 });
  });

  it('gets no more devices than stated', async () => {
    const receiver = new ScriptedReceiver();
    const store = storeOf(receiver, { maxDevices: 2 });
    expect(await store.commit(['a', 'b', 'c', 'a'].map((device, i) => windowOf(i, {}, { device })))).toEqual(['added', 'added', 'refused', 'added']);
    expect(await store.commit([windowOf(1, {}, { device: 'd' })])).toEqual(['refused']);
    expect(store.devices).toBe(2);
  });

  it('is told what a device is, also when that comes later', async () => {
    const receiver = new ScriptedReceiver();
    const store = storeOf(receiver);
    await store.commit([windowOf(1)]);
    await store.commit([capsOf(), windowOf(2)]);
    expect(receiver.sent.map(([device]) => device?.host?.machine.arch ?? null)).toEqual([null, 'x64']);
  });

  it('is not begun with a state that is damaged', () => {
    const file = join(temporaryFolder(), 'state.sqlite');
    writeFileSync(file, 'not a database at all, but long enough to be read as one');
    expect(codeOf(() => new ExportStore(new ScriptedReceiver(), { file, maxDevices: 1, sendLate: false }))).toBe('E_EXPORT');
  });
});

describe('over HTTP', () => {
  const device = async (): Promise<readonly DeviceExport[]> => {
    const receiver = new ScriptedReceiver();
    await storeOf(receiver).commit([windowOf(1)]);
    return receiver.sent[0] ?? [];
  };
  const codeIn = (sent: Promise<unknown>): Promise<unknown> => sent.then(() => null, (error: unknown) => codeOf(() => { throw error; }));

  it('OTLP is sent again after the answers that its specification names, and after no others', async () => {
    const server = await scriptedServer();
    const otlp = new OtlpReceiver({ url: server.url, headers: { Authorization: 'Bearer x' } });
    server.answers.push({ status: 503 }, { status: 429 }, { status: 500 }, { status: 404 }, { status: 302, headers: { Location: '/elsewhere' } }, { status: 413 });
    const one = await device();
    expect([await codeIn(otlp.send(one)), await codeIn(otlp.send(one))]).toEqual(['E_EXPORT', 'E_EXPORT']);
    expect([await otlp.send(one), await otlp.send(one), await otlp.send(one)]).toMatchObject([{ taken: false, divisible: false }, { taken: false, divisible: false }, { taken: false, divisible: false }]);
    expect(await otlp.send(one)).toMatchObject({ taken: false, divisible: true });
    expect(server.requests[0]?.headers).toMatchObject({ 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip', authorization: 'Bearer x' });
    expect(readOtlp(server.bodies[0] ?? new Uint8Array()).resourceMetrics).toHaveLength(1);
  });

  it('what OTLP says was left out is counted', async () => {
    const server = await scriptedServer();
    server.answers.push({ status: 200, partial: { rejected: 7, message: 'too old' } });
    const said: string[] = [];
    const store = storeOf(new OtlpReceiver({ url: server.url, headers: {} }), { onRefused: (message) => said.push(message) });
    await store.commit([windowOf(1)]);
    expect(store.stats).toMatchObject({ windows: 1, pointsRejected: 7 });
    expect(said).toEqual(['The OTLP receiver left out 7 points: too old']);
  });

  it('remote write is sent again after 5xx and 429, and after no others', async () => {
    const server = await scriptedServer();
    const receiver = new RemoteWriteReceiver({ url: server.url, headers: { 'X-Scope-OrgID': 'doors' }, nativeHistograms: true });
    server.answers.push({ status: 500 }, { status: 429 }, { status: 400 }, { status: 401 });
    const one = await device();
    expect([await codeIn(receiver.send(one)), await codeIn(receiver.send(one))]).toEqual(['E_EXPORT', 'E_EXPORT']);
    expect([await receiver.send(one), await receiver.send(one), await receiver.send(one)]).toEqual([
      { taken: false, divisible: true, message: 'status 400: no reason given' }, { taken: false, divisible: false, message: 'status 401: no reason given' }, TAKEN,
    ]);
    expect(server.requests[0]?.headers).toMatchObject({ 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy', 'x-prometheus-remote-write-version': '0.1.0', 'x-scope-orgid': 'doors' });
  });

  it('a receiver that asks for a pause gets one, and one that is not there is an error to try again', async () => {
    const server = await scriptedServer();
    const receiver = new RemoteWriteReceiver({ url: server.url, headers: {}, nativeHistograms: false });
    server.answers.push({ status: 503, headers: { 'Retry-After': '60' } });
    const one = await device();
    expect([await codeIn(receiver.send(one)), await codeIn(receiver.send(one))]).toEqual(['E_EXPORT', 'E_EXPORT']);
    expect(server.requests).toHaveLength(1);
    expect(await codeIn(new OtlpReceiver({ url: 'http://127.0.0.1:1/', headers: {} }).send(one))).toBe('E_EXPORT');
    expect([null, '5', '-1', 'nonsense', new Date(NOW + 7000).toUTCString(), '999999999'].map((text) => pauseOf(text, NOW))).toEqual([0, 5000, 0, 0, 7000, 300_000]);
  });
});

describe('the commands', () => {
  it('refuse addresses that are none, passwords in them, and files of headers that are none', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'headers'), '# of the tenant\nAuthorization: Bearer a b\n\nX-Scope-OrgID: doors\n');
    expect(readHeaders(join(folder, 'headers'))).toEqual({ Authorization: 'Bearer a b', 'X-Scope-OrgID': 'doors' });
    writeFileSync(join(folder, 'wrong'), 'Authorization Bearer\n');
    const run = (...words: string[]): Promise<{ code: number; err: string }> => captureCli(['fleet', ...words, '--broker', 'mqtt://127.0.0.1:1']);
    expect((await run('otlp', '--endpoint', 'grpc://x:4317')).err).toContain('E_USAGE');
    expect((await run('remote-write', '--url', 'http://me:secret@x/')).err).toMatch(/E_USAGE.*--url must not hold a password/s);
    expect((await run('otlp', '--endpoint', 'http://x', '--headers', join(folder, 'wrong'))).err).toContain('line 1');
    expect((await run('otlp', '--endpoint', 'http://x', '--headers', join(folder, 'none'))).err).toContain('E_FILE');
    expect((await run('otlp', '--endpoint', 'http://x', '--group', 'a/b')).code).toBe(2);
  });
});
