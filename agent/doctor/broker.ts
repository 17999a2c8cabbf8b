/** Checks the broker as this device sees it: connection, encryption, rights, and the time that the fleet has signed. */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { messageOf } from '../../runtime/errors.js';
import { redact } from '../../runtime/redact.js';
import { isLoopback } from '../api/guard.js';
import type { Config } from '../config/schema.js';
import { desiredSchema, deviceSubscriptions, parseTopic, randomClientId, TOPIC_ROOT } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import { classifyFailure, type ProtocolVersion } from '../mqtt/classify.js';
import { loginOf } from '../mqtt/login.js';
import { decodeMetadata } from '../trust/metadata.js';
import { checksOf, type Check } from './check.js';

const CONNECT_TIMEOUT_MS = 10_000;
/** How long the check listens. Brokers send retained messages right after they grant a subscription, so this is enough. */
const LISTEN_MS = 1500;

export interface BrokerReport {
  checks: Check[];
  /** Newest time that the fleet signed, in the messages that the broker keeps for this device. Milliseconds since 1970; null when there is none. */
  signedMs: number | null;
}

interface Probe {
  protocol: ProtocolVersion;
  /** Why the broker did not grant the device's own topics; null when it granted them. */
  refused: string | null;
  /** Other devices whose status this device could read. With access control there should be none. */
  others: string[];
  signedMs: number | null;
}

/**
 * Connects once, without a will and under a client id of its own, so that the broker does not end the daemon's connection.
 * @throws AgentError E_BROKER_*, and errors of files
 */
function open(config: Config, url: string, protocol: ProtocolVersion): Promise<MqttClient> {
  const options: IClientOptions = {
    ...loginOf(config.broker), clientId: randomClientId('sterna-doctor'), protocolVersion: protocol, clean: true,
    reconnectPeriod: 0, connectTimeout: CONNECT_TIMEOUT_MS, resubscribe: false,
  };
  return new Promise((resolve, reject) => {
    const client = connect(url, options);
    let reached = false;
    const fail = (error: unknown): void => {
      client.end(true);
      const failure = classifyFailure({ error, reached, protocol });
      reject(Object.assign(new AgentError(failure.code === 'E_PACKET_SIZE' ? 'E_BROKER_AWAY' : failure.code, failure.message), { otherProtocol: failure.otherProtocol }));
    };
    client.on('packetsend', () => { reached = true; });
    client.once('connect', () => resolve(client));
    client.on('error', fail);
    client.once('close', () => fail(null));
  });
}

async function openEither(config: Config, url: string): Promise<{ client: MqttClient; protocol: ProtocolVersion }> {
  const first = config.broker.protocol === '3.1.1' ? 4 : 5;
  try {
    return { client: await open(config, url, first), protocol: first };
  } catch (error) {
    const other = config.broker.protocol === 'auto' && error instanceof Error && 'otherProtocol' in error && error.otherProtocol === true;
    if (!other) throw error;
    return { client: await open(config, url, 4), protocol: 4 };
  }
}

/**
 * When a message to this device was signed, according to the message; null when it does not say so. The doctor does not verify the signatures; the
 * daemon does.
 */
function issuedMs(payload: Buffer): number | null {
  try {
    const { signed } = desiredSchema.parse(JSON.parse(payload.toString('utf8')));
    return signed === undefined || signed === null ? null : decodeMetadata('timestamp', 'director timestamp', signed.director.timestamp).issuedMs;
  } catch {
    return null; // This is not a message of this version; the daemon's own fault says why it refuses it.
  }
}

async function probe(config: Config, url: string): Promise<Probe> {
  const { client, protocol } = await openEither(config, url);
  const others = new Set<string>();
  let signedMs: number | null = null;
  client.on('message', (text, payload) => {
    const topic = parseTopic(text);
    if (topic === null) return;
    if (topic.device !== config.device_id || topic.fleet !== config.fleet) others.add(`${topic.fleet}/${topic.device}`);
    else if (topic.topic.kind === 'desired') signedMs = Math.max(signedMs ?? 0, issuedMs(payload) ?? 0) || null;
  });
  try {
    let refused: string | null = null;
    await client.subscribeAsync(deviceSubscriptions({ fleet: config.fleet, device: config.device_id }), { qos: 1 }).catch((error: unknown) => { refused = messageOf(error); });
    // A broker with access control refuses this subscription, or grants it and sends nothing.
    await client.subscribeAsync(`${TOPIC_ROOT}/+/+/status`, { qos: 0 }).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, LISTEN_MS));
    return { protocol, refused, others: [...others].sort(), signedMs };
  } finally {
    await client.endAsync(true).catch(() => undefined);
  }
}

function judge(config: Config, url: string, { protocol, refused, others, signedMs }: Probe): Check[] {
  const report = checksOf('broker');
  const details = { url: redact(url), protocol: protocol === 5 ? '5' : '3.1.1', ...(signedMs === null ? {} : { newest_signed_ms: signedMs }) };
  const address = `${config.fleet}/${config.device_id}`;
  const connected = refused === null
    ? report.ok(`connected to ${redact(url)} with MQTT ${details.protocol}; ${address} may use its topics`, { details })
    : report.failed(`connected to ${redact(url)}, but ${address} may not subscribe to its topics: ${refused}`, { details, remedy: 'check fleet and device_id, and the access list of the broker (sterna provision writes one)' });
  const { hostname, protocol: scheme } = new URL(url);
  const open = /^(mqtt|ws|tcp):$/.test(scheme) && !isLoopback(hostname.replace(/^\[(.*)\]$/, '$1'))
    ? [report.warning('the connection is not encrypted: passwords and events can be read on the way', { remedy: 'use mqtts:// and broker.tls' })] : [];
  const wide = others.length === 0 ? [] : [report.warning(`this device can read other devices: ${others.slice(0, 3).join(', ')}${others.length > 3 ? ` and ${others.length - 3} more` : ''}`, {
    details: { readable: others }, remedy: 'give the broker an access list that confines each device to its own topics (sterna provision writes one)',
  })];
  return [connected, ...open, ...wide];
}

export async function checkBroker(config: Config): Promise<BrokerReport> {
  const report = checksOf('broker');
  const { url } = config.broker;
  if (url === null) return { checks: [report.none('no broker is configured; the device works alone', { remedy: 'set broker.url to receive packages and to report' })], signedMs: null };
  try {
    const found = await probe(config, url);
    return { checks: judge(config, url, found), signedMs: found.signedMs };
  } catch (error) {
    const credential = /\/run\/credentials\//.test(messageOf(error));
    const remedy = credential ? 'systemd makes this file while sternad runs: start it first (systemctl start sternad)' : 'check broker.url, the network, the firewall and the certificates';
    return { checks: [report.failed(`${redact(url)}: ${messageOf(error)}`, { remedy })], signedMs: null };
  }
}
