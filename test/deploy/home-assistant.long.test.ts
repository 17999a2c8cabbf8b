/** Devices as Home Assistant sees them: discovery by its rules, states, and the adapter with real brokers. */
import type { MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { FindingEvent } from '../../agent/contracts/index.js';
import { mosquittoMissing, startMosquitto } from '../../deploy/bench/transfer/mosquitto.js';
import { EmbeddedBroker } from '../../deploy/broker/broker.js';
import type { FleetContent } from '../../deploy/collector/fleet-message.js';
import { HomeAssistantBridge, type HomeAssistantOptions } from '../../deploy/home-assistant/bridge.js';
import { HomeAssistantDevice, type StateMessage } from '../../deploy/home-assistant/device.js';
import { bridgeTopic, configTopic, discoveryConfig, nodeOf, nodePrefix, OFF_DELAY_S, readConfig, stateTopics, type DiscoveryConfig } from '../../deploy/home-assistant/discovery.js';
import { updateState, visitorName } from '../../deploy/home-assistant/states.js';
import { connectLink } from '../../deploy/mqtt/link.js';
import { ReportGuard } from '../../deploy/repository/report-guard.js';
import { temporaryFolder, until } from '../agent/support/tools.js';
import { captureCli } from './cli/capture.js';
import { caps, DOOR, json, pipelineReport, recognition, reported, status, telemetry, topic } from './fixtures.js';
import { CONFIG_TOPIC, configRules, eventRules, picked, updateRules } from './home-assistant-rules.js';

const NOW = 1_700_000_000_000;
const guard = new ReportGuard();
const BRIDGE = bridgeTopic();
const hears = { stages: [{ stage: 'levels', kind: 'warm' as const, latency_ms: { sum: 1, min: 1, max: 1, buckets: '0:1' } as never }] };
const siren = (id: string, action: 'appeared' | 'left' = 'appeared'): FindingEvent => recognition(id, NOW, { action, finding: { type: 'sound', label: 'siren', score: 0.9 } });
const state = (what: string): string => `sterna-home-assistant/${DOOR.fleet}/${DOOR.device}/${what}`;

function known(...contents: FleetContent[]): HomeAssistantDevice {
  const device = new HomeAssistantDevice(DOOR);
  for (const content of contents) device.take({ address: DOOR, ...content }, guard, NOW);
  return device;
}
const [online, able, runs]: FleetContent[] = [{ kind: 'status', value: status() }, { kind: 'caps', value: caps() }, { kind: 'reported', value: reported() }];
const takes = (device: HomeAssistantDevice, content: FleetContent, nowMs = NOW): StateMessage[] => device.take({ address: DOOR, ...content }, guard, nowMs);
const valueOf = (messages: readonly StateMessage[], what: string): unknown => {
  const payload = messages.find((message) => message.topic === state(what))?.payload;
  return payload === undefined ? undefined : payload.startsWith('{') ? JSON.parse(payload) : payload;
};

describe('discovery', () => {
  it('follows the rules of Home Assistant', () => {
    const device = known(online!, able!, runs!, { kind: 'telemetry', value: telemetry(1, NOW) });
    const config = configRules.parse(discoveryConfig(device.facts, BRIDGE));
    expect(config.device).toEqual({ identifiers: ['sterna__demo__door-1'], name: 'door-1', manufacturer: 'Sterna', model: 'Test bench', sw_version: '0.1.0' });
    expect(Object.keys(config.components)).toEqual(['temperature', 'power', 'energy', 'inference_energy', 'memory', 'cpu_clock', 'throttled', 'problem', 'p99__main', 'update__main', 'motion__main', 'visitor__main']);
    expect(config.components['motion__main']).toMatchObject({ name: 'Motion', off_delay: OFF_DELAY_S });
    expect(config.availability).toEqual([{ topic: topic('status'), value_template: "{{ 'online' if value_json.state == 'online' else 'offline' }}" }, { topic: 'sterna-home-assistant/status' }]);
  });

  it('has what a pipeline shows that looks or listens, with its name where there are several', () => {
    const device = known(online!, { kind: 'reported', value: reported({ pipelines: [pipelineReport({ name: 'faces' }), pipelineReport({ name: 'ears.2' })] }) });
    expect(Object.keys(discoveryConfig(device.facts, BRIDGE).components).filter((key) => /^(motion|visitor|sound|heard)/.test(key))).toEqual([]);
    takes(device, { kind: 'telemetry', value: telemetry(1, NOW, { name: 'faces' }) });
    takes(device, { kind: 'telemetry', value: telemetry(2, NOW, { name: 'ears.2', ...hears }) });
    const { components } = configRules.parse(discoveryConfig(device.facts, BRIDGE));
    expect(Object.keys(components).filter((key) => /^(motion|visitor|sound|heard)/.test(key))).toEqual(['motion__faces', 'visitor__faces', 'sound__ears_2e2', 'heard__ears_2e2']);
    expect(components['sound__ears_2e2']).toMatchObject({ name: 'ears.2 sound' });
  });

  it('has no two devices of one name, and only names that Home Assistant takes', () => {
    const addresses = [['a', 'b'], ['a.b', 'c'], ['a', 'b.c'], ['a_', 'b'], ['a', '_b'], ['a__b', 'c'], ['a', 'b__c'], ['a-b', 'c']].map(([fleet = '', device = '']) => ({ fleet, device }));
    expect(new Set(addresses.map(nodeOf)).size).toBe(addresses.length);
    for (const address of addresses) expect(configTopic('homeassistant', nodeOf(address))).toMatch(CONFIG_TOPIC);
    expect(nodeOf({ fleet: 'a_', device: 'b' }).startsWith(nodePrefix('a'))).toBe(false);
  });

  it('takes away the entities of a pipeline that is gone', () => {
    const before = discoveryConfig(known(online!, runs!, { kind: 'telemetry', value: telemetry(1, NOW) }).facts, BRIDGE);
    const after = discoveryConfig(known(online!, { kind: 'reported', value: reported({ name: 'other' }) }).facts, BRIDGE, before.components);
    configRules.parse(after);
    expect(after.components['motion__main']).toEqual({ platform: 'binary_sensor' });
    expect(after.components['p99__other']).toHaveProperty('unique_id');
  });

  it('is read back only if it is ours', () => {
    const config = discoveryConfig(known(online!, runs!).facts, BRIDGE);
    expect(readConfig(json(config))).toEqual(config);
    for (const other of ['', '{', '[]', '{"components": {}}', JSON.stringify({ ...config, origin: { name: 'zigbee2mqtt' } }), JSON.stringify({ ...config, components: null })]) expect(readConfig(Buffer.from(other))).toBeNull();
    expect(stateTopics({ components: { a: { platform: 'sensor', state_topic: 'home/lamp' }, b: { platform: 'sensor', state_topic: 'sterna-home-assistant/#' }, c: { platform: 'sensor', state_topic: state('health') } } })).toEqual([state('health')]);
  });
});

describe('states', () => {
  it('have every value that a template asks for', () => {
    const device = known(online!, runs!);
    const messages = [takes(device, runs!), takes(device, { kind: 'telemetry', value: telemetry(1, NOW) }), takes(device, { kind: 'event', value: recognition('e1', NOW) })].flat();
    for (const [key, component] of Object.entries(discoveryConfig(device.facts, BRIDGE).components)) {
      const message = messages.find((candidate) => candidate.topic === component['state_topic']);
      expect(message, key).toBeDefined();
      if (typeof component['value_template'] === 'string') expect(picked(component['value_template'], message?.payload ?? ''), key).toBeDefined();
    }
    expect(valueOf(messages, 'telemetry')).toEqual({ celsius: 51.5, watts: 1.02, watt_hours: 0.001, inference_millijoules: 27, memory_megabytes: 96.1, cpu_megahertz: 2400, throttled: 'OFF' });
    expect(valueOf(messages, 'pipeline/main/telemetry')).toMatchObject({ p99_ms: expect.any(Number) as number });
  });

  it('show who came, and motion until the last one has left', () => {
    const device = known(online!, runs!);
    const step = (event: FindingEvent, nowMs = NOW): unknown => valueOf(takes(device, { kind: 'event', value: event }, nowMs), 'pipeline/main/motion');
    const stranger = { type: 'detection' as const, label: 'face', score: 0.9, identity: null };
    const came = takes(device, { kind: 'event', value: recognition('e1', NOW) });
    expect(valueOf(came, 'pipeline/main/visitor')).toMatchObject({ name: 'Ada', label: 'face', similarity: 0.71, time: '2023-11-14T22:13:20.000Z' });
    expect(came.map(({ topic: to, retain }) => [to, retain])).toEqual([[state('pipeline/main/visitor'), true], [state('pipeline/main/motion'), false]]);
    expect(step(recognition('e2', NOW, { finding: stranger }))).toBe('ON');
    expect(step(recognition('e3', NOW, { action: 'left' }))).toBe('ON');
    expect(step(recognition('e4', NOW, { action: 'left', finding: stranger }))).toBe('OFF');
    expect(step(recognition('e4', NOW, { action: 'appeared' }))).toBeUndefined();
    step(recognition('e5', NOW));
    expect(step(recognition('e6', NOW, { finding: stranger, action: 'left' }), NOW + OFF_DELAY_S * 1000)).toBe('OFF');
  });

  it('make nothing happen now that happened before', () => {
    const device = known(online!, runs!);
    const late = takes(device, { kind: 'event', value: recognition('e1', NOW, { backfill: true }) });
    expect(late.map(({ topic: to }) => to)).toEqual([state('pipeline/main/visitor')]);
    expect(takes(device, { kind: 'event', value: recognition('e0', NOW - 1, { backfill: true }) })).toEqual([]);
    expect(takes(device, { kind: 'telemetry', value: telemetry(1, NOW, { backfill: true }) })).toEqual([]);
    expect(takes(device, { kind: 'event', value: siren('s1') }).map(({ topic: to, retain }) => [to, retain])).toEqual([[state('pipeline/main/heard'), false], [state('pipeline/main/sound'), false]]);
  });

  it('tell the beginning and the end of a sound', () => {
    const device = known(online!, runs!);
    const begun = takes(device, { kind: 'event', value: siren('s1') });
    expect(eventRules.parse(valueOf(begun, 'pipeline/main/heard'))).toMatchObject({ event_type: 'started', label: 'siren', score: 0.9 });
    expect(valueOf(begun, 'pipeline/main/sound')).toBe('ON');
    const over = takes(device, { kind: 'event', value: siren('s2', 'left') });
    expect(valueOf(over, 'pipeline/main/heard')).toMatchObject({ event_type: 'ended' });
    expect(valueOf(over, 'pipeline/main/sound')).toBe('OFF');
    expect(discoveryConfig(device.facts, BRIDGE).components['heard__main']?.['event_types']).toEqual(['started', 'ended']);
  });

  it('take no name for a state that means none', () => {
    const named = (name: string): string => visitorName(recognition('e', NOW, { finding: { type: 'detection', label: 'face', score: 1, identity: { person_id: 1, name, similarity: 1 } } }));
    expect(['None', 'unknown', 'unavailable', ' '].map(named)).toEqual(['"None"', '"unknown"', '"unavailable"', '""']);
    expect(named('x'.repeat(256))).toHaveLength(253);
    expect(visitorName(recognition('e', NOW, { finding: { type: 'detection', label: 'cat', score: 1 } }))).toBe('cat');
    const picture = { type: 'detection', label: 'face', score: 1, identity: null, liveness: { score: 0.1, live: false } };
    expect(visitorName(recognition('e', NOW, { finding: picture }))).toBe('a picture of a face');
  });
});

describe('an update', () => {
  const next = { name: 'faces', version: '1.1.0', digest: 'cd'.repeat(32), size_bytes: 4000 };
  const active = { ...next, version: '1.0.0', since_ms: 1 };
  const shown = (over: Partial<Parameters<typeof updateState>[0]['ota']>, slots = { active, previous: null } as Parameters<typeof updateState>[0]['slots']): ReturnType<typeof updateState> =>
    updateRules.parse(updateState(pipelineReport({ slots, ota: { state: 'downloading', package: next, blocks_done: 1, blocks_total: 4, error: null, ...over } }))) as ReturnType<typeof updateState>;
  const transfer = { bytes_done: 999, bytes_total: 1000, received_bytes: 1, bytes_per_s: 1, eta_s: null, waiting: null, wait_s: null };

  it('shows its progress while it is downloaded', () => {
    expect(shown({})).toEqual({ installed_version: '1.0.0', latest_version: '1.1.0', title: 'faces', release_summary: '', in_progress: true, update_percentage: 25 });
    expect(shown({ transfer })).toMatchObject({ update_percentage: 99 });
    expect(shown({ blocks_total: 0 })).toMatchObject({ update_percentage: null });
    expect(shown({ state: 'shadow' })).toMatchObject({ in_progress: true, update_percentage: null });
  });

  it('is none any more when it was refused, which the summary says', () => {
    expect(shown({ state: 'rejected', error: { code: 'E_X', message: `too slow${'.'.repeat(300)}` } })).toMatchObject({ latest_version: '1.0.0', in_progress: false, release_summary: expect.stringContaining('faces 1.1.0 was rejected: too slow') as string });
    expect(shown({ state: 'committed' }, { active: { ...next, since_ms: 2 }, previous: active })).toMatchObject({ installed_version: '1.1.0', latest_version: '1.1.0', in_progress: false, release_summary: '' });
  });

  it('leaves out versions that nobody knows, because null would spoil the message', () => {
    expect(shown({}, { active: null, previous: null })).not.toHaveProperty('installed_version');
    expect(shown({ state: 'idle', package: null }, { active: null, previous: null })).toEqual({ title: '', release_summary: '', in_progress: false, update_percentage: null });
  });
});

/** Everything below `homeassistant` and our states, as the broker retains it and as it comes. */
interface Heard { retained: Map<string, string>; live: [topic: string, payload: string][] }

async function listener(url: string): Promise<Heard> {
  const client = await connectLink({ url, clientId: `ha-${Math.random()}` });
  onTestFinished(() => client.endAsync(true));
  const heard: Heard = { retained: new Map(), live: [] };
  client.on('message', (to, payload) => {
    heard.live.push([to, payload.toString()]);
    if (payload.length === 0) heard.retained.delete(to);
    else heard.retained.set(to, payload.toString());
  });
  await client.subscribeAsync(['homeassistant/device/#', 'sterna-home-assistant/#'], { qos: 1 });
  return heard;
}

async function deviceOf(url: string): Promise<(suffix: string, value: unknown, retain?: boolean) => Promise<unknown>> {
  const client: MqttClient = await connectLink({ url, clientId: `device-${Math.random()}` });
  onTestFinished(() => client.endAsync(true));
  return (suffix, value, retain = true) => client.publishAsync(suffix.startsWith('homeassistant') ? suffix : topic(suffix), value === null ? Buffer.alloc(0) : typeof value === 'string' ? value : json(value), { qos: 1, retain });
}

async function bridgeTo(url: string, over: Partial<HomeAssistantOptions> = {}): Promise<HomeAssistantBridge> {
  const bridge = new HomeAssistantBridge({ url, guard: new ReportGuard(), prefix: 'homeassistant', maxDevices: 4, quietMs: 300, birthDelayMs: 10, ...over });
  onTestFinished(() => bridge.stop());
  await bridge.start();
  return bridge;
}

const CONFIG = 'homeassistant/device/sterna__demo__door-1/config';
const configOf = ({ retained }: Heard): DiscoveryConfig => configRules.parse(JSON.parse(retained.get(CONFIG) ?? 'null')) as DiscoveryConfig;

const brokers = [
  { name: 'the embedded broker', missing: false, open: async (): Promise<string> => { const made = new EmbeddedBroker(); await made.start(); onTestFinished(() => made.stop()); return made.url; } },
  { name: 'Mosquitto (skipped without it; Debian: apt-get install mosquitto)', missing: mosquittoMissing(), open: async (): Promise<string> => { const made = await startMosquitto(temporaryFolder()); onTestFinished(() => made.stop()); return made.url; } },
];

describe.each(brokers)('the adapter with $name', ({ missing, open }) => {
  it.skipIf(missing)('announces a device, shows what it does, and clears it when it leaves', async () => {
    const url = await open();
    const say = await deviceOf(url);
    for (const [suffix, value] of [['status', status()], ['caps', caps()], ['reported', reported()]] as const) await say(suffix, value);
    await bridgeTo(url);
    const heard = await listener(url);
    await until('announced', () => heard.retained.has(CONFIG) && heard.retained.has(state('health')));
    expect(heard.retained.get('sterna-home-assistant/status')).toBe('online');
    expect(configOf(heard).components).not.toHaveProperty('motion__main');
    await say('telemetry', telemetry(1, NOW), false);
    await until('it looks', () => 'motion__main' in configOf(heard).components);
    await say('event/finding', recognition('e1', NOW), false);
    await until('motion', () => heard.live.some(([to, payload]) => to === state('pipeline/main/motion') && payload === 'ON'));
    await say('reported', reported({ ota: { state: 'downloading', package: { name: 'faces', version: '2.0.0', digest: 'cd'.repeat(32), size_bytes: 4000 }, blocks_done: 3, blocks_total: 4, error: null } }));
    await until('progress', () => heard.retained.get(state('pipeline/main/update'))?.includes('"update_percentage":75') === true);
    await say('status', null);
    await until('cleared', () => [...heard.retained.keys()].every((to) => to === 'sterna-home-assistant/status' || to === state('pipeline/main/motion')));
  }, 60_000);

  it.skipIf(missing)('sends everything again when Home Assistant has started', async () => {
    const url = await open();
    const say = await deviceOf(url);
    await say('status', status());
    await say('reported', reported());
    await bridgeTo(url);
    const heard = await listener(url);
    await until('announced', () => heard.retained.has(CONFIG));
    const count = (to: string): number => heard.live.filter(([known]) => known === to).length;
    const [configs, healths] = [count(CONFIG), count(state('health'))];
    await say('homeassistant/status', 'offline', false);
    await say('homeassistant/status', 'online', false);
    await until('again', () => count(CONFIG) > configs && count(state('health')) > healths);
  }, 60_000);

  it.skipIf(missing)('clears devices that left while it was away, keeps what it knew of others, and leaves strangers alone', async () => {
    const url = await open();
    const say = await deviceOf(url);
    await say('status', status());
    await say('reported', reported());
    const first = await bridgeTo(url);
    await say('telemetry', telemetry(1, NOW), false);
    const heard = await listener(url);
    await until('it looks', () => heard.retained.get(CONFIG)?.includes('motion__main') === true);
    await first.stop();
    await until('offline', () => heard.retained.get('sterna-home-assistant/status') === 'offline');
    const gone = { ...configOf(heard), components: { problem: { platform: 'binary_sensor', name: 'x', unique_id: 'x', state_topic: 'sterna-home-assistant/demo/gone/health' } } };
    await say('homeassistant/device/sterna__demo__gone/config', gone);
    await say('homeassistant/device/sterna__demo__lamp/config', { ...gone, origin: { name: 'somebody else' } });
    const second = await bridgeTo(url);
    await until('cleared', () => !heard.retained.has('homeassistant/device/sterna__demo__gone/config'));
    expect(second.stats).toMatchObject({ devices: 1, cleared: 1 });
    expect(heard.retained.has('homeassistant/device/sterna__demo__lamp/config')).toBe(true);
    expect(configOf(heard).components['motion__main']).toHaveProperty('state_topic');
  }, 60_000);

  it.skipIf(missing)('counts what it does not believe, and devices beyond its limit', async () => {
    const url = await open();
    const say = await deviceOf(url);
    await say('status', '{');
    await say('reported', reported({ time_ms: NOW }));
    const bridge = await bridgeTo(url, { maxDevices: 1 });
    await say('event/finding', { type: 'finding' }, false);
    const other = await connectLink({ url, clientId: 'other' });
    onTestFinished(() => other.endAsync(true));
    await other.publishAsync(topic('status', { fleet: 'demo', device: 'two' }), json(status()), { qos: 1, retain: true });
    await until('counted', () => bridge.stats.devicesRefused === 1 && bridge.stats.malformed === 2);
    expect(bridge.stats).toMatchObject({ devices: 1, announced: 0 });
  }, 60_000);

  it.skipIf(missing)('takes all devices out again', async () => {
    const url = await open();
    const say = await deviceOf(url);
    await say('status', status());
    const bridge = await bridgeTo(url);
    const heard = await listener(url);
    await until('announced', () => heard.retained.has(CONFIG));
    await bridge.stop();
    expect(await captureCli(['fleet', 'home-assistant', '--broker', url, '--remove', '--json'])).toMatchObject({ code: 0, out: expect.stringContaining('"removed":1') as string });
    await until('cleared', () => heard.retained.size === 0);
  }, 60_000);
});

describe('sterna fleet home-assistant', () => {
  it('refuses topics and fleets that cannot be', async () => {
    const words = ['fleet', 'home-assistant', '--broker', 'mqtt://127.0.0.1:1'];
    for (const more of [['--prefix', 'a/#'], ['--prefix', ''], ['--prefix', 'sterna/v2'], ['--fleet', 'a/b']]) expect((await captureCli([...words, ...more])).code, more.join(' ')).toBe(2);
  });
});
