/** The fleet in Prometheus' text format, and the alert rules and the dashboard that read it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { quantile, mergeHistograms } from '../../agent/contracts/index.js';
import { Collector } from '../../deploy/collector/collector.js';
import { CollectorStore } from '../../deploy/collector/store.js';
import { Dashboard } from '../../deploy/dashboard/server.js';
import { caps, json, reported, status, telemetry, topic } from './fixtures.js';

const folder = new URL('../../deploy/monitoring/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, folder), 'utf8');
const address = (device: string): { fleet: string; device: string } => ({ fleet: 'doors', device });

let store: CollectorStore;
let collector: Collector;
let dashboard: Dashboard;
beforeEach(async () => {
  store = new CollectorStore(':memory:');
  collector = new Collector({ url: 'mqtt://127.0.0.1:1' }, store);
  dashboard = new Dashboard({ port: 0, collector, store });
  await dashboard.start();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await dashboard.stop();
  store.close();
});

const receive = (device: string, suffix: string, value: unknown): void => collector.receive(topic(suffix, address(device)), json(value), Date.now());
const connected = (): void => { vi.spyOn(collector, 'connected', 'get').mockReturnValue(true); };

/** Lines of `/metrics` by metric and labels. */
async function metrics(): Promise<Map<string, number>> {
  const answer = await fetch(`${dashboard.url}/metrics`);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

describe('the metrics of a fleet', () => {
  it('have a line for what each device says', async () => {
    connected();
    receive('a', 'status', status());
    receive('a', 'caps', caps());
    receive('a', 'reported', reported());
    receive('a', 'telemetry', telemetry(1, Date.now()));
    receive('b', 'status', status({ state: 'offline' }));
    const lines = await metrics();
    expect(lines.get('sterna_device_up{fleet="doors",device="a"}')).toBe(1);
    expect(lines.get('sterna_device_up{fleet="doors",device="b"}')).toBe(0);
    expect(lines.get('sterna_device_temperature_celsius{fleet="doors",device="a"}')).toBe(telemetry(1, 1).thermal.zones[0]?.celsius);
    expect(lines.has('sterna_device_temperature_celsius{fleet="doors",device="b"}')).toBe(false);
    expect(lines.get('sterna_device_info{fleet="doors",device="a",version="0.1.0",packages="faces 1.0.0"}')).toBe(1);
    expect(lines.get('sterna_fleet_devices{fleet="doors",health="bad"}')).toBe(1);
    expect(lines.get('sterna_collector_messages_total')).toBe(5);
  });

  it('have the quantiles of the merged histograms of all devices, not a mean of theirs', async () => {
    connected();
    const [slow, fast] = [telemetry(1, Date.now()), telemetry(1, Date.now())];
    const latencies = (window: typeof slow) => window.pipelines[0]?.end_to_end.find(({ clock, kind }) => clock === 'raw' && kind === 'warm')?.latency_ms;
    const [a, b] = [latencies(slow), latencies(fast)];
    if (a === undefined || b === undefined) throw new Error('the fixture has no latencies');
    Object.assign(a, { sum: 1000, min: 1000, max: 1000, buckets: '318:1' });
    receive('a', 'telemetry', slow);
    receive('b', 'telemetry', fast);
    const lines = await metrics();
    for (const q of [50, 90, 99]) expect(lines.get(`sterna_fleet_latency_p${q}_seconds{fleet="doors"}`)).toBe((quantile(mergeHistograms(a, b), q / 100) ?? 0) / 1000);
  });

  it('do not repeat what was true before the broker was lost', async () => {
    receive('a', 'status', status());
    const lines = await metrics();
    expect(lines.get('sterna_collector_connected')).toBe(0);
    expect([...lines.keys()].filter((name) => name.startsWith('sterna_device_up'))).toEqual([]);
    expect(lines.get('sterna_fleet_devices{fleet="doors",health="unknown"}')).toBe(1);
  });

  it('keep a hostile label within its quotes', async () => {
    receive('a', 'status', status({ version: '"} 1' }));
    expect((await metrics()).get('sterna_device_info{fleet="doors",device="a",version="\\"} 1",packages=""}')).toBe(1);
  });
});

describe('the alert rules and the dashboard', () => {
  it('read only metrics that exist', async () => {
    connected();
    const text = await (await fetch(`${dashboard.url}/metrics`)).text();
    const known = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
    for (const file of ['alerts.yml', 'alerts-cases.yml', 'grafana-fleet.json']) {
      const used = [...read(file).matchAll(/\bsterna_[a-z0-9_]+/g)].map(([name]) => name);
      expect(used.length, file).toBeGreaterThan(5);
      expect(used.filter((name) => !known.has(name)), file).toEqual([]);
    }
  });

  it('have a case for each alert', () => {
    const alerts = [...read('alerts.yml').matchAll(/alert: (\w+)/g)].map(([, name]) => name);
    const cases = read('alerts-cases.yml').split(/alertname: /).filter((part) => part.includes('exp_alerts')).map((part) => part.match(/^\w+/)?.[0]);
    expect(cases).toEqual(alerts);
  });

  const promtool = spawnSync('promtool', ['--version']).error === undefined;
  it.skipIf(!promtool)('pass promtool (skipped without it; Debian: apt-get install prometheus)', () => {
    for (const args of [['check', 'config', 'prometheus.yml'], ['test', 'rules', 'alerts-cases.yml']]) {
      const { status: code, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' });
      expect(code, `${stdout}${stderr}`).toBe(0);
    }
  });

  it.skipIf(!promtool)('read an exposition that promtool accepts', async () => {
    connected();
    receive('a', 'status', status());
    receive('a', 'telemetry', telemetry(1, Date.now()));
    const { status: code, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: await (await fetch(`${dashboard.url}/metrics`)).text(), encoding: 'utf8' });
    expect(code, `${stdout}${stderr}`).toBe(0);
  });
});
