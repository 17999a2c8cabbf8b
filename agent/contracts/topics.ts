/**
 * The topic tree `sterna/v2/{fleet}/{device}/...`: builders and one parser, nothing else knows the strings.
 * Limits (AWS IoT Core's, so that it runs there too): 7 slashes, 128 KiB a message, 8 topics a SUBSCRIBE.
 */
import { ContractError } from './errors.js';

export const TOPIC_ROOT = 'sterna/v2';
export const MAX_TOPIC_SLASHES = 7;
export const MAX_MESSAGE_BYTES = 128 * 1024;
export const MAX_TOPICS_PER_SUBSCRIBE = 8;
/** Characters of a package's SHA-256 (hex) that name it in block topics. */
export const DIGEST8_LENGTH = 8;

/** A fleet, device, pipeline, command or event name: no wildcards, slashes, spaces or control characters can pass. */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
export const DIGEST_PATTERN = /^[0-9a-f]{64}$/;
const DIGEST8_PATTERN = /^[0-9a-f]{8}$/;
const INDEX_PATTERN = /^(0|[1-9][0-9]{0,8})$/;

export interface DeviceAddress {
  fleet: string;
  device: string;
}

/** A topic below `sterna/v2/{fleet}/{device}/`, taken apart. */
export type DeviceTopic =
  | { kind: 'status' | 'caps' | 'reported' | 'telemetry' | 'ota_get' }
  | { kind: 'desired'; pipeline: string }
  | { kind: 'event'; type: string }
  | { kind: 'cmd'; name: string }
  | { kind: 'res'; id: string }
  | { kind: 'ota_block'; digest8: string; index: number };

export type ParsedTopic = DeviceAddress & { topic: DeviceTopic };

/** @throws ContractError E_ID */
export function requireId(what: string, value: string): string {
  if (!ID_PATTERN.test(value)) {
    throw new ContractError('E_ID', `Expected a ${what} of 1 to 64 letters, digits, "_", "." or "-" (a letter or digit first) but received ${JSON.stringify(value)}`, {
      details: { what, value },
    });
  }
  return value;
}

/** Text of a topic below a device. @throws ContractError E_ID */
export function deviceTopic(address: DeviceAddress, topic: DeviceTopic): string {
  return `${devicePrefix(address)}/${suffixOf(topic)}`;
}

function devicePrefix(address: DeviceAddress): string {
  return `${TOPIC_ROOT}/${requireId('fleet', address.fleet)}/${requireId('device', address.device)}`;
}

function suffixOf(topic: DeviceTopic): string {
  switch (topic.kind) {
    case 'desired': return `desired/${requireId('pipeline', topic.pipeline)}`;
    case 'event': return `event/${requireId('event type', topic.type)}`;
    case 'cmd': return `cmd/${requireId('command', topic.name)}`;
    case 'res': return `res/${requireId('command id', topic.id)}`;
    case 'ota_get': return 'ota/get';
    case 'ota_block': return `ota/block/${requireDigest8(topic.digest8)}/${requireIndex(topic.index)}`;
    default: return topic.kind;
  }
}

/** First characters of a package digest, as block topics carry them. @throws ContractError E_ID */
export function digest8(digest: string): string {
  if (!DIGEST_PATTERN.test(digest)) {
    throw new ContractError('E_ID', `Expected a SHA-256 digest of 64 lower-case hex digits but received ${JSON.stringify(digest)}`);
  }
  return digest.slice(0, DIGEST8_LENGTH);
}

function requireDigest8(value: string): string {
  if (!DIGEST8_PATTERN.test(value)) throw new ContractError('E_ID', `Expected 8 lower-case hex digits but received ${JSON.stringify(value)}`);
  return value;
}

function requireIndex(index: number): number {
  if (!Number.isInteger(index) || index < 0 || index > 999_999_999) {
    throw new ContractError('E_ID', `Expected a block index from 0 to 999999999 but received ${index}`);
  }
  return index;
}

/** What a device subscribes to: one SUBSCRIBE of three topics. */
export function deviceSubscriptions(address: DeviceAddress): string[] {
  const prefix = devicePrefix(address);
  return [`${prefix}/desired/+`, `${prefix}/cmd/+`, `${prefix}/ota/block/+/+`];
}

/** What the other end subscribes to: everything that devices send up, of one device, of a fleet, or of all (`+`). */
export function upstreamSubscriptions(fleet = '+', device = '+'): string[] {
  const level = (what: string, value: string): string => (value === '+' ? value : requireId(what, value));
  const prefix = `${TOPIC_ROOT}/${level('fleet', fleet)}/${level('device', device)}`;
  return ['status', 'caps', 'reported', 'telemetry', 'event/+', 'res/+', 'ota/get'].map((suffix) => `${prefix}/${suffix}`);
}

/** Null for a topic that is not of this protocol: brokers deliver what they like, a stranger's topic is no error. */
export function parseTopic(text: string): ParsedTopic | null {
  if (text.length > 512) return null;
  const [root, version, fleet, device, ...rest] = text.split('/');
  if (root !== 'sterna' || version !== 'v2' || fleet === undefined || device === undefined) return null;
  if (!ID_PATTERN.test(fleet) || !ID_PATTERN.test(device)) return null;
  const topic = parseSuffix(rest);
  return topic === null ? null : { fleet, device, topic };
}

function parseSuffix(parts: readonly string[]): DeviceTopic | null {
  const [head = '', second, third, fourth] = parts;
  if (parts.length === 1) return parseSimple(head);
  if (parts.length === 2 && second !== undefined) return parsePair(head, second);
  if (parts.length !== 4 || head !== 'ota' || second !== 'block' || third === undefined || fourth === undefined) return null;
  if (!DIGEST8_PATTERN.test(third) || !INDEX_PATTERN.test(fourth)) return null;
  return { kind: 'ota_block', digest8: third, index: Number(fourth) };
}

function parseSimple(head: string): DeviceTopic | null {
  switch (head) {
    case 'status': case 'caps': case 'reported': case 'telemetry': return { kind: head };
    default: return null;
  }
}

function parsePair(head: string, second: string): DeviceTopic | null {
  if (head === 'ota') return second === 'get' ? { kind: 'ota_get' } : null;
  if (!ID_PATTERN.test(second)) return null;
  switch (head) {
    case 'desired': return { kind: 'desired', pipeline: second };
    case 'event': return { kind: 'event', type: second };
    case 'cmd': return { kind: 'cmd', name: second };
    case 'res': return { kind: 'res', id: second };
    default: return null;
  }
}
