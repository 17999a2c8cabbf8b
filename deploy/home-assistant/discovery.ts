/**
 * What Home Assistant is told about a device: one device-based discovery message (Home Assistant 2024.12 and later) with all entities, and the topics that they read.
 * Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
 */
import { deviceTopic, type Caps, type DeviceAddress, type Status } from '../../agent/contracts/index.js';
import { runtimeVersion } from '../../runtime/version.js';

/** States are plain topics below this one, apart from what devices publish. */
export const STATE_ROOT = 'sterna-home-assistant';
export const ORIGIN = 'Sterna';
/** Where Home Assistant looks for discovery, and says that it has started. */
export const DEFAULT_PREFIX = 'homeassistant';
/** If the end of a movement or a sound never arrives, it is over after so many seconds. */
export const OFF_DELAY_S = 120;
/** Figures that are older say nothing about now, seconds. The longest interval of telemetry is an hour. */
const EXPIRE_S = 2 * 3600;
/** Entities that were removed, in one message. */
const MAX_REMOVED = 64;

/** Of a pipeline that has shown whether it looks or listens; null: not yet. */
export interface PipelineFacts {
  name: string;
  sense: 'sight' | 'sound' | null;
}

export interface DeviceFacts {
  address: DeviceAddress;
  status: Status | null;
  caps: Caps | null;
  pipelines: readonly PipelineFacts[];
}

export interface Component extends Record<string, unknown> {
  platform: string;
}

export interface DiscoveryConfig extends Record<string, unknown> {
  device: Record<string, unknown>;
  origin: Record<string, unknown>;
  components: Record<string, Component>;
}

/** Letters, digits, "-" and escapes: Home Assistant takes no dot in a name, and no two names may become one. */
const escaped = (name: string): string => name.replace(/[^A-Za-z0-9-]/g, (letter) => `_${letter.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** Name of a device in Home Assistant's topics, different for every device. */
export const nodeOf = ({ fleet, device }: DeviceAddress): string => `sterna__${escaped(fleet)}__${escaped(device)}`;

/** Beginning of the names of a fleet's devices; of all fleets without one. */
export const nodePrefix = (fleet?: string): string => (fleet === undefined ? 'sterna__' : `sterna__${escaped(fleet)}__`);

export const configTopic = (prefix: string, node: string): string => `${prefix}/device/${node}/config`;

/** Whether this adapter runs: `online` or `offline`. */
export const bridgeTopic = (fleet?: string): string => (fleet === undefined ? `${STATE_ROOT}/status` : `${STATE_ROOT}/${fleet}/status`);

type DeviceState = 'telemetry' | 'health';
type PipelineState = 'telemetry' | 'update' | 'motion' | 'visitor' | 'sound' | 'heard';

export const deviceState = ({ fleet, device }: DeviceAddress, state: DeviceState): string => `${STATE_ROOT}/${fleet}/${device}/${state}`;
export const pipelineState = ({ fleet, device }: DeviceAddress, pipeline: string, state: PipelineState): string => `${STATE_ROOT}/${fleet}/${device}/pipeline/${pipeline}/${state}`;

/**
 * @param bridge topic of this adapter's own availability
 * @param before components of the message before; those that are gone are removed from Home Assistant
 */
export function discoveryConfig({ address, status, caps, pipelines }: DeviceFacts, bridge: string, before: Readonly<Record<string, Component>> = {}): DiscoveryConfig {
  const node = nodeOf(address);
  const version = status?.version ?? caps?.version;
  const several = pipelines.length > 1;
  const made = [...ofDevice(address), ...pipelines.flatMap((pipeline) => ofPipeline(address, pipeline, several ? `${pipeline.name} ` : ''))];
  const components = Object.fromEntries(made.map(([key, component]) => [key, { ...component, unique_id: `${node}__${key}` }]));
  const removed = Object.entries(before).filter(([key]) => !(key in components)).slice(0, MAX_REMOVED).map(([key, { platform }]) => [key, { platform }] as const);
  return {
    device: {
      identifiers: [node], name: address.device, manufacturer: ORIGIN, ...(caps === null || caps.machine.model === '' ? {} : { model: caps.machine.model }),
      ...(version === undefined ? {} : { sw_version: version }),
    },
    origin: { name: ORIGIN, sw_version: runtimeVersion },
    // Both have to say that they are there: what this adapter last wrote is not current while it does not run.
    availability: [
      { topic: deviceTopic(address, { kind: 'status' }), value_template: "{{ 'online' if value_json.state == 'online' else 'offline' }}" },
      { topic: bridge },
    ],
    availability_mode: 'all',
    components: { ...components, ...Object.fromEntries(removed) },
  };
}

type Entry = [key: string, component: Component];

function ofDevice(address: DeviceAddress): Entry[] {
  const telemetry = deviceState(address, 'telemetry');
  const health = deviceState(address, 'health');
  const figure = { platform: 'sensor', state_topic: telemetry, expire_after: EXPIRE_S, state_class: 'measurement', entity_category: 'diagnostic' };
  return [
    ['temperature', { ...figure, name: 'Temperature', device_class: 'temperature', unit_of_measurement: '°C', suggested_display_precision: 1, value_template: '{{ value_json.celsius }}' }],
    ['power', { ...figure, name: 'Power', device_class: 'power', unit_of_measurement: 'W', suggested_display_precision: 2, value_template: '{{ value_json.watts }}' }],
    ['energy', { ...figure, name: 'Energy', device_class: 'energy', state_class: 'total_increasing', unit_of_measurement: 'Wh', suggested_display_precision: 2, value_template: '{{ value_json.watt_hours }}' }],
    ['inference_energy', { ...figure, name: 'Energy of an inference', unit_of_measurement: 'mJ', icon: 'mdi:lightning-bolt', suggested_display_precision: 1, value_template: '{{ value_json.inference_millijoules }}' }],
    ['memory', { ...figure, name: 'Memory', device_class: 'data_size', unit_of_measurement: 'MB', suggested_display_precision: 0, value_template: '{{ value_json.memory_megabytes }}' }],
    ['cpu_clock', { ...figure, name: 'CPU clock', device_class: 'frequency', unit_of_measurement: 'MHz', suggested_display_precision: 0, value_template: '{{ value_json.cpu_megahertz }}' }],
    ['throttled', { platform: 'binary_sensor', name: 'CPU throttled', state_topic: telemetry, expire_after: EXPIRE_S, device_class: 'problem', entity_category: 'diagnostic', value_template: '{{ value_json.throttled }}' }],
    ['problem', { platform: 'binary_sensor', name: 'Problem', state_topic: health, device_class: 'problem', entity_category: 'diagnostic', value_template: '{{ value_json.problem }}', json_attributes_topic: health }],
  ];
}

function ofPipeline(address: DeviceAddress, { name, sense }: PipelineFacts, prefix: string): Entry[] {
  const topic = (state: PipelineState): string => pipelineState(address, name, state);
  const key = (what: string): string => `${what}__${escaped(name)}`;
  const named = (what: string): string => (prefix === '' ? `${what.charAt(0).toUpperCase()}${what.slice(1)}` : `${prefix}${what}`);
  const always: Entry[] = [
    [key('p99'), {
      platform: 'sensor', name: named('p99 latency'), state_topic: topic('telemetry'), expire_after: EXPIRE_S, device_class: 'duration', state_class: 'measurement', unit_of_measurement: 'ms',
      entity_category: 'diagnostic', suggested_display_precision: 1, value_template: '{{ value_json.p99_ms }}',
    }],
    // No command_topic, and so no button to install: only the director's key can make a device run something else.
    [key('update'), { platform: 'update', name: named('package'), state_topic: topic('update') }],
  ];
  const sights: Entry[] = [
    [key('motion'), { platform: 'binary_sensor', name: named('motion'), state_topic: topic('motion'), device_class: 'motion', off_delay: OFF_DELAY_S }],
    [key('visitor'), { platform: 'sensor', name: named('last visitor'), state_topic: topic('visitor'), icon: 'mdi:account', value_template: '{{ value_json.name }}', json_attributes_topic: topic('visitor') }],
  ];
  const sounds: Entry[] = [
    [key('sound'), { platform: 'binary_sensor', name: named('sound'), state_topic: topic('sound'), device_class: 'sound', off_delay: OFF_DELAY_S }],
    [key('heard'), { platform: 'event', name: named('heard'), state_topic: topic('heard'), icon: 'mdi:bullhorn', event_types: ['started', 'ended'] }],
  ];
  return [...always, ...(sense === 'sight' ? sights : sense === 'sound' ? sounds : [])];
}

/** What an earlier message said of a pipeline. A component that was removed has nothing but its platform. */
export function announcedSense({ components }: Pick<DiscoveryConfig, 'components'>, pipeline: string): PipelineFacts['sense'] {
  const has = (what: string): boolean => components[`${what}__${escaped(pipeline)}`]?.['state_topic'] !== undefined;
  return has('motion') ? 'sight' : has('sound') ? 'sound' : null;
}

/** Our state topics that a discovery message names, which are empty when the device has left. */
export function stateTopics({ components }: Pick<DiscoveryConfig, 'components'>): string[] {
  const topics = Object.values(components).flatMap(({ state_topic: state, json_attributes_topic: attributes }) => [state, attributes]);
  return [...new Set(topics.filter((topic): topic is string => typeof topic === 'string' && topic.startsWith(`${STATE_ROOT}/`) && !/[+#\0]/.test(topic)))];
}

/** A retained discovery message of this adapter; null for anything else. */
export function readConfig(payload: Uint8Array): DiscoveryConfig | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString('utf8'));
    if (!isRecord(value) || !isRecord(value.origin) || value.origin['name'] !== ORIGIN || !isRecord(value['device']) || !isRecord(value['components'])) return null;
    const components = Object.entries(value['components']).filter((entry): entry is [string, Component] => isRecord(entry[1]) && typeof entry[1]['platform'] === 'string');
    return { ...value, device: value.device, origin: value.origin, components: Object.fromEntries(components) };
  } catch {
    return null;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
