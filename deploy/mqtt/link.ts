import { readFileSync } from 'node:fs';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { guardPackets, MAX_PACKET_BYTES, privateClientId, whenReached } from '../../agent/contracts/index.js';
import { stated } from '../../runtime/options.js';
import { redact } from '../../runtime/redact.js';
import { DeployError } from '../errors.js';

export interface LinkOptions {
  /** mqtt://, mqtts://, ws:// or wss://; may carry user and password. */
  url: string;
  /** With a session only its beginning: the rest follows from this program's key or password, so that nobody else can take the session over. */
  clientId: string;
  username?: string;
  password?: string;
  /** PEM file of the authority that signed the broker's certificate, when it is not a public one. */
  caFile?: string;
  /** PEM files of this program's own certificate and key, for mutual TLS: both or none. */
  certFile?: string;
  keyFile?: string;
  /** The name that the broker's certificate must carry, when it is not the host of `url`. */
  serverName?: string;
  /** How long the first connection may take. Default 10 s. */
  connectTimeoutMs?: number;
  /** A session that the broker keeps while this program is away. Absent: every connection begins with a new session. */
  session?: LinkSession;
  /** What the broker publishes, retained, when this program vanishes. */
  will?: { topic: string; payload: string };
  /** Called before the first packet can arrive: messages of a kept session come right after the connection is accepted. */
  prepare?: (client: MqttClient) => void;
}

export interface LinkSession {
  /** How long the broker keeps the session after the connection ends. */
  expirySeconds: number;
  /** Most messages of QoS 1 that the broker sends before one of them is acknowledged. */
  receiveMaximum: number;
  /** Whether MQTT 3.1.1 will do, where the broker alone decides about both. Default: no. */
  mqtt311?: boolean;
}

/** A broker whose certificate is refused, or that refuses ours, does so again at the next attempt. */
const TLS_REFUSED = /^(CERT_|UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|ERR_TLS_|ERR_SSL_|ERR_OSSL_|HOSTNAME_MISMATCH|EPROTO$)/;
/** Of these the broker's authority is the reason, and --ca the remedy. */
const UNKNOWN_AUTHORITY = /^(UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED)/;

/** Of a broker that ends the connection instead of answering CONNECT. */
const HUNG_UP = 'HUNG_UP';

/**
 * Return code of CONNACK in MQTT 3.1.1, "unacceptable protocol version", and its MQTT 5 counterpart. RabbitMQ before 3.13 hangs up on MQTT 5.
 */
const PROTOCOL_REFUSED: readonly unknown[] = [1, 0x84, HUNG_UP];

/**
 * Connects one fleet-side program to a broker: MQTT 5, and 3.1.1 where the broker does not know it. Afterwards mqtt.js
 * reconnects once a second and subscribes again; a device, of which there are many, has its own back-off.
 * The broker's certificate is always checked: there is no option that accepts any.
 * @throws DeployError E_BROKER_CONNECT, E_FILE for a certificate or key that cannot be read
 */
export async function connectLink(options: LinkOptions): Promise<MqttClient> {
  const deadline = Date.now() + (options.connectTimeoutMs ?? 10_000);
  const tls = tlsOptions(options);
  const { key } = tls;
  const { url, password } = options;
  const clientId = options.session === undefined ? options.clientId : privateClientId(options.clientId, { url, ...stated({ key, password }) });
  let lastError: Error | null = null;
  const older = options.session === undefined || options.session.mqtt311 === true;
  for (const protocolVersion of older ? [5, 4] as const : [5] as const) {
    const client = connect(options.url, { ...clientOptions(options, protocolVersion), ...tls, clientId });
    options.prepare?.(client);
    guardEveryStream(client);
    lastError = await settled(client, deadline - Date.now(), protocolVersion === 5 && older);
    if (lastError === null) {
      client.on('error', () => undefined); // a failing reconnect is no event of ours: 'close' and 'connect' tell
      return client;
    }
    await client.endAsync(true).catch(() => undefined);
    if (!PROTOCOL_REFUSED.includes('code' in lastError ? lastError.code : undefined)) break;
  }
  throw new DeployError('E_BROKER_CONNECT', `The broker ${redact(options.url)} cannot be used: ${redact(reasonOf(lastError))}`, {
    ...(lastError === null ? {} : { cause: lastError }),
    details: { url: redact(options.url) },
  });
}

function clientOptions(options: LinkOptions, protocolVersion: 4 | 5): IClientOptions {
  return {
    protocolVersion,
    clean: options.session === undefined,
    ...(options.session === undefined || protocolVersion === 4 ? {} : { properties: { sessionExpiryInterval: options.session.expirySeconds, receiveMaximum: options.session.receiveMaximum } }),
    ...(options.will === undefined ? {} : { will: { topic: options.will.topic, payload: Buffer.from(options.will.payload), qos: 1 as const, retain: true } }),
    keepalive: 30,
    reconnectPeriod: 1000,
    queueQoSZero: false,
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
  };
}

/** @throws DeployError E_FILE */
function tlsOptions({ caFile, certFile, keyFile, serverName }: LinkOptions): IClientOptions & { key?: Buffer } {
  const read = (path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new DeployError('E_FILE', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause, details: { path } });
    }
  };
  const wsOptions: NonNullable<IClientOptions['wsOptions']> = { maxPayload: 8 * MAX_PACKET_BYTES };
  if (serverName !== undefined) Object.assign(wsOptions, { servername: serverName }); // `ws` hands it to tls.connect; its types do not say so
  return {
    ...(caFile === undefined ? {} : { ca: read(caFile) }),
    ...(certFile === undefined ? {} : { cert: read(certFile) }),
    ...(keyFile === undefined ? {} : { key: read(keyFile) }),
    wsOptions,
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
}

const codeOf = (error: Error): unknown => ('code' in error ? error.code : undefined);

function reasonOf(error: Error | null): string {
  if (error === null) return 'no answer';
  const code = codeOf(error);
  if (typeof code !== 'string') return error.message;
  if (UNKNOWN_AUTHORITY.test(code)) return `${error.message}. Name the authority that signed its certificate with --ca`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `${error.message}. If that is your broker, name what its certificate carries with --server-name`;
  return error.message === '' ? code : error.message; // one error for several addresses has no message
}

/** mqtt.js makes a new stream at each reconnect, just before it says so. */
function guardEveryStream(client: MqttClient): void {
  const guard = (): void => guardPackets(client.stream, (error) => client.emit('error', error));
  guard();
  client.on('reconnect', () => setImmediate(guard));
}

/**
 * Null when connected, else why not.
 * @param hangUpIsFinal whether a connection that ends before the broker answers is a refusal; else it may be a broker that is starting
 */
async function settled(client: MqttClient, timeoutMs: number, hangUpIsFinal: boolean): Promise<Error | null> {
  return new Promise((resolve) => {
    let latest: Error = new Error(`no connection within ${Math.max(0, Math.round(timeoutMs))} ms`);
    const done = (result: Error | null): void => {
      clearTimeout(timer);
      client.removeListener('connect', onConnect);
      client.removeListener('error', onError);
      client.removeListener('close', onClose);
      client.on('error', () => undefined);
      resolve(result);
    };
    const onConnect = (): void => done(null);
    const onError = (error: Error): void => {
      latest = error;
      // A refusal is final; an unreachable address may come up within the time allowed.
      const code = codeOf(error);
      if (typeof code === 'number' || (typeof code === 'string' && TLS_REFUSED.test(code))) done(error);
    };
    let reached = false;
    whenReached(client.stream, () => { reached = true; });
    const onClose = (): void => {
      if (!reached) return;
      latest = Object.assign(new Error('the broker ended the connection before it answered, as one without MQTT 5 does'), { code: HUNG_UP });
      if (hangUpIsFinal) done(latest);
    };
    const timer = setTimeout(() => done(latest), Math.max(1, timeoutMs));
    client.on('connect', onConnect);
    client.on('error', onError);
    client.on('close', onClose);
  });
}
