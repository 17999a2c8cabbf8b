/** What devices say, checked against the contracts: the one way from a message of the broker to a value. */
import {
  capsSchema, ContractError, decodePayload, eventSchema, parseTopic, statusSchema, telemetrySchema, upstreamSubscriptions,
  type Caps, type DeviceAddress, type DeviceTopic, type Event, type Reported, type Status, type TelemetryWindow,
} from '../../agent/contracts/index.js';
import type { ReportGuard } from '../repository/report-guard.js';

/** What a device retains: its state, what it can do, and what it runs. */
export type Facet = 'status' | 'caps' | 'reported';

export type FleetContent =
  | { kind: 'status'; value: Status }
  | { kind: 'caps'; value: Caps }
  | { kind: 'reported'; value: Reported }
  | { kind: 'telemetry'; value: TelemetryWindow; /** As it came, for stores that keep the text. */ payload?: Uint8Array }
  | { kind: 'event'; value: Event };

export type FleetMessage = FleetContent & { address: DeviceAddress };

/** What collectors subscribe to: everything that devices send up, apart from requests for blocks and answers to commands. */
export const collectedTopics = (fleet?: string): string[] => upstreamSubscriptions(fleet).filter((topic) => !topic.endsWith('/ota/get') && !topic.endsWith('/res/+'));

/** Those of them that the broker retains. */
export const inventoryTopics = (fleet?: string): string[] => collectedTopics(fleet).filter((topic) => /\/(status|caps|reported)$/.test(topic));

/**
 * Null for what collectors do not keep: a retained message that is cleared, answers and requests.
 * @throws ContractError for a topic that is not of this protocol, a payload that breaks its contract, and a report that the guard does not believe
 */
export function readMessage(topic: string, payload: Uint8Array, guard: ReportGuard): FleetMessage | null {
  const parsed = parseTopic(topic);
  if (parsed === null) throw new ContractError('E_TOPIC', `Expected a topic of this protocol but received ${JSON.stringify(topic.slice(0, 200))}`);
  const content = payload.byteLength === 0 ? null : parsed.topic.kind === 'reported' ? { kind: 'reported' as const, value: guard.read(parsed, payload) } : readContent(parsed.topic, payload);
  return content === null ? null : { address: { fleet: parsed.fleet, device: parsed.device }, ...content };
}

function readContent(topic: DeviceTopic, payload: Uint8Array): FleetContent | null {
  switch (topic.kind) {
    case 'status': return { kind: 'status', value: decodePayload(statusSchema, payload) };
    case 'caps': return { kind: 'caps', value: decodePayload(capsSchema, payload) };
    case 'telemetry': return { kind: 'telemetry', value: decodePayload(telemetrySchema, payload), payload };
    case 'event': {
      const value = decodePayload(eventSchema, payload);
      if (value.type !== topic.type) throw new ContractError('E_PAYLOAD', `Field "type": ${value.type} arrived on the topic of ${topic.type}`);
      return { kind: 'event', value };
    }
    default: return null;
  }
}
