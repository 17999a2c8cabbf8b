/** The flow for Node-RED: its format, what its functions make of real payloads, and Node-RED itself where it is installed. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { eventSchema, parseTopic, statusSchema, telemetrySchema, type FindingEvent } from '../../agent/contracts/index.js';
import { mosquittoMissing, startMosquitto } from '../../deploy/bench/transfer/mosquitto.js';
import { freePort } from '../../deploy/demo/device-process.js';
import { connectLink } from '../../deploy/mqtt/link.js';
import { temporaryFolder, until } from '../agent/support/tools.js';
import { json, recognition, status, telemetry, topic } from './fixtures.js';

interface FlowNode { id: string; type: string; z?: string; name?: string; topic?: string; func?: string; broker?: string; property?: string; rules?: { t: string; v: string; vt: string }[]; outputs?: number; wires?: string[][]; console?: boolean; port?: string }
interface Message { topic: string; payload: unknown; kind?: string }

const NOW = 1_700_000_000_000;
const flow = JSON.parse(readFileSync(new URL('../../deploy/monitoring/node-red-flow.json', import.meta.url), 'utf8')) as FlowNode[];
const byId = new Map(flow.map((node) => [node.id, node]));

const matches = (pattern: string, text: string): boolean => new RegExp(`^${pattern.replaceAll('+', '[^/]+')}$`).test(text);

/** What the nodes do by Node-RED's documentation, as far as this flow uses them. @returns names of the debug nodes that get a message, with it */
function deliver(to: string, message: Message, reached: [string, unknown][] = []): [string, unknown][] {
  const node = byId.get(to);
  const next = (output: number, sent: Message): void => { for (const id of node?.wires?.[output] ?? []) deliver(id, sent, reached); };
  switch (node?.type) {
    case 'mqtt in': next(0, message); break;
    case 'json': next(0, { ...message, payload: JSON.parse(String(message.payload)) as unknown }); break;
    case 'function': {
      const result = runInNewContext(`(function (msg) {${node.func ?? ''}\n})(msg)`, { msg: message }) as Message | null;
      if (result !== null) next(0, result);
      break;
    }
    case 'switch': {
      const value = (message as unknown as Record<string, unknown>)[node.property ?? ''];
      const at = node.rules?.findIndex(({ t, v, vt }) => t === 'eq' && vt === 'str' && v === value) ?? -1;
      if (at >= 0) next(at, message);
      break;
    }
    case 'debug': reached.push([node.name ?? '', JSON.parse(JSON.stringify(message.payload))]); break;
    default: throw new Error(`no node ${to}`);
  }
  return reached;
}

function publish(suffix: string, value: unknown): [string, unknown][] {
  const at = topic(suffix);
  return flow.filter((node) => node.type === 'mqtt in' && matches(node.topic ?? '', at)).flatMap(({ id }) => deliver(id, { topic: at, payload: json(value).toString() }));
}

const finding = (over: Partial<FindingEvent> & { finding?: unknown }): FindingEvent => eventSchema.parse(recognition('event-1', NOW, over as Partial<FindingEvent>)) as FindingEvent;
const face = { type: 'detection', label: 'face', score: 0.9 };
const siren = { type: 'sound', label: 'siren', score: 0.8, onset_ms: NOW, duration_ms: 900 };

describe('the flow for Node-RED', () => {
  it('has unique nodes of the core palette, on one tab, whose wires lead somewhere', () => {
    expect(byId.size).toBe(flow.length);
    expect(new Set(flow.map(({ type }) => type))).toEqual(new Set(['tab', 'mqtt-broker', 'mqtt in', 'json', 'function', 'switch', 'debug']));
    for (const { id, type, z, wires, broker, rules, outputs } of flow) {
      if (type === 'tab' || type === 'mqtt-broker') continue;
      expect(byId.get(z ?? '')?.type, id).toBe('tab');
      expect(wires?.flat().every((to) => byId.has(to)), id).toBe(true);
      if (type === 'mqtt in') expect(byId.get(broker ?? '')?.type).toBe('mqtt-broker');
      if (type === 'switch') expect([rules?.length, outputs]).toEqual([wires?.length, wires?.length]);
    }
    const inputs = new Set(flow.flatMap(({ wires }) => wires?.flat() ?? []));
    expect(flow.filter(({ id, type }) => !['tab', 'mqtt-broker', 'mqtt in'].includes(type) && !inputs.has(id))).toEqual([]);
  });

  it('subscribes to topics that devices publish', () => {
    const topics = flow.flatMap(({ topic: at }) => at ?? []);
    expect(topics.map((at) => parseTopic(at.replace('+', 'demo').replace('+', 'door-1'))?.topic.kind)).toEqual(['event', 'status', 'telemetry']);
  });

  it.each([
    ['Somebody known', finding({}), { who: 'Ada', text: 'door-1: Ada appeared' }],
    ['Motion', finding({ finding: { ...face, identity: null } }), { who: 'a stranger' }],
    ['Motion', finding({ finding: { ...face, identity: null, liveness: { score: 0.1, live: false } } }), { who: 'a picture of a face' }],
    ['Motion', finding({ finding: { type: 'track', label: 'person', score: 0.7, track: 3 } }), { who: 'person', kind: 'motion' }],
    ['Siren', finding({ finding: siren }), { label: 'siren', score: 0.8 }],
    ['Another sound', finding({ finding: { ...siren, label: 'glass' } }), { label: 'glass' }],
    ['It is over', finding({ action: 'left', finding: siren }), { kind: 'siren', action: 'left' }],
  ])('brings to "%s" what belongs there', (name, event, payload) => {
    expect(publish('event/finding', event)).toEqual([[name, expect.objectContaining({ fleet: 'demo', device: 'door-1', pipeline: 'main', time: '2023-11-14T22:13:20.000Z', ...payload })]]);
  });

  it('makes nothing happen now that happened before', () => {
    expect(publish('event/finding', finding({ backfill: true }))).toEqual([]);
    expect(publish('telemetry', telemetrySchema.parse(telemetry(1, NOW, { backfill: true })))).toEqual([]);
  });

  it('shows births, deaths and figures', () => {
    expect(publish('status', statusSchema.parse(status({ state: 'offline' })))).toEqual([['Device', { fleet: 'demo', device: 'door-1', state: 'offline', version: '0.1.0', text: 'door-1: offline' }]]);
    const window = telemetrySchema.parse(telemetry(1, NOW));
    const p99 = window.pipelines[0]?.end_to_end[0]?.p99_ms;
    expect(p99).toBeGreaterThan(0);
    expect(publish('telemetry', window)).toEqual([['Figures of a window', expect.objectContaining({ celsius: 51.5, p99_ms: { main: p99 }, memory_bytes: window.memory.rss_bytes })]]);
    const without = telemetrySchema.parse(telemetry(1, NOW, { thermal: { ...window.thermal, zones: [] }, end_to_end: [] }));
    expect(publish('telemetry', without)).toEqual([['Figures of a window', expect.objectContaining({ celsius: null, p99_ms: { main: null } })]]);
  });

  const missing = mosquittoMissing() ? 'mosquitto' : spawnSync('node-red', ['--version']).error === undefined ? null : 'node-red';
  it.skipIf(missing !== null)(`runs in Node-RED${missing === null ? '' : ` (skipped: ${missing} is not installed)`}`, { timeout: 180_000 }, async () => {
    const [folder, port, mosquitto] = [temporaryFolder(), await freePort(), await startMosquitto(temporaryFolder())];
    onTestFinished(() => mosquitto.stop());
    // What a debug node shows in the browser, it can also write to standard output.
    const changed = flow.map((node) => (node.type === 'debug' ? { ...node, console: true } : node.type === 'mqtt-broker' ? { ...node, port: String(mosquitto.port) } : node));
    writeFileSync(join(folder, 'flows.json'), JSON.stringify(changed));
    writeFileSync(join(folder, 'settings.js'), `module.exports = { uiHost: '127.0.0.1', uiPort: ${port}, flowFile: 'flows.json', httpAdminRoot: false, externalModules: { autoInstall: false } };\n`);
    const child = spawn('node-red', ['--userDir', folder, '--settings', join(folder, 'settings.js')], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => { out += text.toString(); });
    const exited = new Promise((resolve) => { child.once('exit', resolve); });
    onTestFinished(async () => { child.kill('SIGTERM'); await exited; });
    await until('Node-RED is connected', () => out.includes('Connected to broker'), 120_000).catch((error: unknown) => { throw new Error(`${String(error)}: ${out}`); });
    const device = await connectLink({ url: mosquitto.url, clientId: 'door-1' });
    onTestFinished(() => device.endAsync(true).then(() => undefined));
    for (const [suffix, value] of [['event/finding', finding({ finding: siren })], ['status', status()], ['telemetry', telemetry(1, NOW)]] as const) {
      await until(`${suffix} arrives`, async () => {
        await device.publishAsync(topic(suffix), json(value), { qos: 1 });
        await new Promise((resolve) => { setTimeout(resolve, 200); });
        return out.includes({ 'event/finding': 'door-1: siren appeared', status: 'door-1: online', telemetry: 'door-1: 51.5 °C' }[suffix]);
      });
    }
  });
});
