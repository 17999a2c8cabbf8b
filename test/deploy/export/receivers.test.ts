/** Real receivers on loopback: what devices sent is written, queried again, and equal; with restarts of the receiver, and of the program. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { countOf, eachBucket, quantile, type HistogramData } from '../../../agent/contracts/index.js';
import { mosquittoMissing, startMosquitto } from '../../../deploy/bench/transfer/mosquitto.js';
import { samplesOf } from '../../../deploy/collector/device-samples.js';
import { SharedCollector } from '../../../deploy/collector/shared-collector.js';
import { ExportStore } from '../../../deploy/export/export-store.js';
import { OtlpReceiver } from '../../../deploy/export/otlp.js';
import type { Receiver } from '../../../deploy/export/receiver.js';
import { RemoteWriteReceiver } from '../../../deploy/export/remote-write.js';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { isAtLeast, prometheusVersion, testPrometheus, testVictoriaMetrics, victoriaMetricsTakesOtlp, type QueryResult, type TestPrometheus } from '../collect-servers.js';
import { caps, DOOR, json, telemetry, topic } from '../fixtures.js';
import { capsOf, warm, windowOf } from './support.js';

const noPrometheus = !isAtLeast(prometheusVersion, '2.40');
const noVictoriaOtlp = !victoriaMetricsTakesOtlp;
const skipped = (missing: boolean, what: string): string => (missing ? ` (skipped: ${what})` : '');

/** Prometheus refuses what is much older than now. */
const start = (): number => Math.floor(Date.now() / 1000) * 1000 - 60_000;

function storeOf(receiver: Receiver, file: string | null = null): ExportStore {
  const store = new ExportStore(receiver, { file, maxDevices: 10, sendLate: false });
  onTestFinished(() => store.close());
  return store;
}

const windowsFrom = (startMs: number, n: number, first = 1): ReturnType<typeof telemetry>[] => Array.from({ length: n }, (_, i) => telemetry(first + i, startMs + 5000 * (first + i)));
const receivedOf = (windows: readonly ReturnType<typeof telemetry>[]): Parameters<ExportStore['commit']>[0] => windows.map((window) => windowOf(window.seq, window, { receivedMs: window.end_ms }));

/** Counts by upper bound, as Prometheus tells them, against ours. */
function expectSameHistogram(result: QueryResult | undefined, expected: HistogramData): void {
  const [, histogram] = result?.histogram ?? [];
  expect([Number(histogram?.count), Number(histogram?.sum)]).toEqual([countOf(expected), expect.closeTo(expected.sum, 6)]);
  const ours: [number, number][] = [];
  eachBucket(expected, (index, n) => ours.push([2 ** ((index + 1) / 32), n]));
  const theirs = (histogram?.buckets ?? []).map(([, , high, count]): [number, number] => [Number(high), Number(count)]);
  expect(theirs.map(([, n]) => n)).toEqual(ours.map(([, n]) => n));
  theirs.forEach(([high], i) => expect(high).toBeCloseTo(ours[i]?.[0] ?? NaN, 9));
}

async function expectSamples(prometheus: TestPrometheus, window: ReturnType<typeof telemetry>, labels: string): Promise<void> {
  for (const { name, value, labels: { kind, pipeline } } of samplesOf(DOOR, window)) {
    const own = `${labels}${kind === undefined ? '' : `,kind="${kind}"`}${pipeline === undefined ? '' : `,pipeline="${pipeline}"`}`;
    const [result] = await prometheus.query(`sterna_device_${name}{${own}}`, window.end_ms);
    expect([name, result?.value?.[1]]).toEqual([name, String(value)]);
  }
}

describe.skipIf(noPrometheus)(`remote write to Prometheus ${prometheusVersion ?? ''}${skipped(noPrometheus, 'prometheus 2.40 or later is not installed')}`, () => {
  it('writes what queries give back, once, also after a restart of the receiver and of the program', async () => {
    const prometheus = await testPrometheus();
    const [file, startMs] = [join(temporaryFolder(), 'state.sqlite'), start()];
    const receiver = new RemoteWriteReceiver({ url: `${prometheus.url}/api/v1/write`, headers: {}, nativeHistograms: true });
    const windows = windowsFrom(startMs, 4);
    const first = storeOf(receiver, file);
    await first.commit(receivedOf(windows.slice(0, 2)));
    await expectSamples(prometheus, windows[1]!, 'fleet="demo",device="door-1"');
    // While Prometheus is away nothing counts as sent.
    await prometheus.stop();
    await expect(first.commit(receivedOf(windows.slice(2, 3)))).rejects.toThrow('takes nothing now');
    await prometheus.start();
    await first.commit(receivedOf(windows.slice(2, 3)));
    first.close();
    // What comes twice from the broker is left out.
    const copy = storeOf(receiver, file);
    expect(await copy.commit(receivedOf(windows.slice(1)))).toEqual(['duplicate', 'duplicate', 'added']);
    // Without its state a program sends all again: Prometheus refuses what is older than its newest sample, and takes that one as the same.
    const lost = storeOf(receiver);
    await lost.commit(receivedOf(windows));
    expect(lost.stats).toMatchObject({ windows: 1, windowsRefused: 3 });
    await expectSamples(prometheus, windows[3]!, 'fleet="demo",device="door-1"');
    const [latency] = await prometheus.query('sterna_device_latency_milliseconds{kind="warm"}', windows[3]!.end_ms);
    expectSameHistogram(latency, warm(windows));
    const [p99] = await prometheus.query('histogram_quantile(0.99, sterna_device_latency_milliseconds{kind="warm"})', windows[3]!.end_ms);
    const exact = quantile(warm(windows), 0.99) ?? NaN;
    expect(Math.abs(Number(p99?.value?.[1]) / exact - 1)).toBeLessThan(2 ** (1 / 32) - 1);
    const rows = await prometheus.query('count_over_time(sterna_device_temperature_celsius[5m])', windows[3]!.end_ms);
    expect(rows.map(({ value }) => value?.[1])).toEqual(['4']);
  });

  it('keeps one device that Prometheus refuses from silencing the others', async () => {
    const prometheus = await testPrometheus();
    const receiver = new RemoteWriteReceiver({ url: `${prometheus.url}/api/v1/write`, headers: {}, nativeHistograms: false });
    const startMs = start();
    const [window] = windowsFrom(startMs, 1);
    await storeOf(receiver).commit(receivedOf([{ ...window!, end_ms: startMs + 50_000 }]));
    const store = storeOf(receiver);
    await store.commit([...receivedOf([{ ...window!, end_ms: startMs + 1000 }]), windowOf(1, { end_ms: startMs + 1000 }, { device: 'door-2', receivedMs: startMs + 1000 })]);
    expect(store.stats).toMatchObject({ windows: 1, windowsRefused: 1 });
    expect(await prometheus.query('sterna_device_temperature_celsius{device="door-2"}', startMs + 2000)).toHaveLength(1);
  });
});

describe.skipIf(noVictoriaOtlp)(`OTLP to VictoriaMetrics${skipped(noVictoriaOtlp, 'no victoria-metrics is installed that knows OTLP')}`, () => {
  it('writes what queries give back', async () => {
    const { url } = await testVictoriaMetrics(['-opentelemetry.usePrometheusNaming']);
    const windows = windowsFrom(start(), 3);
    const store = storeOf(new OtlpReceiver({ url: `${url}/opentelemetry/v1/metrics`, headers: {} }));
    await store.commit([capsOf(), ...receivedOf(windows)]);
    expect(store.stats).toMatchObject({ windows: 3, windowsRefused: 0, pointsRejected: 0 });
    const value = async (expression: string): Promise<number> => {
      let found: QueryResult[] = [];
      await until(expression, async () => {
        const answer = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query: expression, time: String((windows[2]!.end_ms + 1) / 1000) }).toString()}`);
        found = ((await answer.json()) as { data: { result: QueryResult[] } }).data.result;
        return found.length > 0;
      });
      return Number(found[0]?.value?.[1]);
    };
    const sum = warm(windows);
    expect(await value('sterna_device_temperature_celsius{device_id="door-1"}')).toBe(51.5);
    expect(await value('sterna_device_energy_joules_total')).toBeCloseTo(12.3, 9);
    expect(await value('sterna_device_latency_milliseconds_count{kind="warm"}')).toBe(countOf(sum));
    expect(Math.abs(await value('histogram_quantile(0.99, sum(sterna_device_latency_milliseconds_bucket{kind="warm"}) by (vmrange))') / (quantile(sum, 0.99) ?? NaN) - 1)).toBeLessThan(2 ** (1 / 32) - 1);
  });
});

const noBroker = mosquittoMissing();
describe.skipIf(noBroker || noPrometheus)(`from the broker to the receiver${skipped(noBroker || noPrometheus, 'mosquitto or prometheus is not installed')}`, () => {
  it('nothing is lost or doubled while the receiver is away, and while the program is', { timeout: 180_000 }, async () => {
    const [prometheus, mosquitto] = [await testPrometheus(), await startMosquitto(temporaryFolder(), ['allow_anonymous true', 'max_queued_messages 0'])];
    onTestFinished(() => mosquitto.stop());
    const device = await connectLink({ url: mosquitto.url, clientId: 'door-1' });
    onTestFinished(() => device.endAsync(true).then(() => undefined));
    await device.publishAsync(topic('caps'), json(caps()), { qos: 1, retain: true });
    const [file, startMs] = [join(temporaryFolder(), 'state.sqlite'), start()];
    const windows = windowsFrom(startMs, 9);
    const publish = async (from: number, to: number): Promise<void> => { for (const window of windows.slice(from, to)) await device.publishAsync(topic('telemetry'), json(window), { qos: 1 }); };
    const begin = async (): Promise<{ store: ExportStore; collector: SharedCollector }> => {
      const store = storeOf(new RemoteWriteReceiver({ url: `${prometheus.url}/api/v1/write`, headers: {}, nativeHistograms: true }), file);
      const collector = new SharedCollector({ url: mosquitto.url, group: 'remote-write', name: 'export', kinds: ['telemetry', 'caps'], batching: { maxDelayMs: 50, retryMs: 50 } }, store);
      await collector.start();
      return { store, collector };
    };
    const one = await begin();
    await publish(0, 3);
    await until('the first windows were taken', () => one.store.stats.windows === 3);
    await prometheus.stop();
    await publish(3, 5);
    await until('it failed', () => one.collector.stats.failures > 0);
    await prometheus.start();
    await until('the receiver is back', () => one.store.stats.windows === 5);
    await one.collector.stop();
    one.store.close();
    await publish(5, 9);
    const two = await begin();
    await until('what waited was taken', () => two.store.stats.windows === 4);
    await two.collector.stop();
    const [latency] = await prometheus.query('sterna_device_latency_milliseconds{kind="warm"}', windows[8]!.end_ms);
    expectSameHistogram(latency, warm(windows));
    const [times] = await prometheus.query('count_over_time(sterna_device_temperature_celsius[5m])', windows[8]!.end_ms);
    expect(times?.value?.[1]).toBe('9');
  });

  it('the command sends, says what it sent, and ends when it is asked to', { timeout: 120_000 }, async () => {
    const [prometheus, mosquitto] = [await testPrometheus(), await startMosquitto(temporaryFolder())];
    onTestFinished(() => mosquitto.stop());
    const program = fileURLToPath(new URL('../../../scripts/sterna.mjs', import.meta.url));
    const child = spawn(process.execPath, [program, 'fleet', 'remote-write', '--broker', mosquitto.url, '--url', `${prometheus.url}/api/v1/write`, '--json', '--report', '0.2'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text: Buffer) => { out += text.toString(); });
    child.stderr.on('data', (text: Buffer) => { err += text.toString(); });
    const exited = new Promise((resolve) => { child.once('exit', resolve); });
    onTestFinished(async () => { child.kill('SIGKILL'); await exited; });
    await until(`it is ready: ${err}`, () => err.includes('gets the windows'), 60_000);
    const device = await connectLink({ url: mosquitto.url, clientId: 'door-1' });
    const [window] = windowsFrom(start(), 1);
    await device.publishAsync(topic('telemetry'), json(window), { qos: 1 });
    await device.endAsync();
    await until('it was sent', () => out.includes('"windows":1') || /"windows": 1\b/.test(out));
    child.kill('SIGINT');
    expect(await exited, err).toBe(0);
    await expectSamples(prometheus, window!, 'fleet="demo",device="door-1"');
  });
});
