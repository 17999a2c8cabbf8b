/**
 * The connection to the broker, made with MQTT.js. Its own reconnecting and queueing are switched off, because it would retry at a fixed second for a
 * whole fleet and queue without a bound on memory. Instead, every attempt is a new client, this class computes the back-off, and what must not be
 * lost is in the outbox. It speaks MQTT 5 where the broker does, else 3.1.1.
 */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import type { Config } from '../config/schema.js';
import { guardPackets, MAX_PACKET_BYTES, privateClientId, whenReached } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import type { Log } from '../platform/log.js';
import { nextBackoff } from '../ground/backoff.js';
import { classifyFailure, type ProtocolVersion } from './classify.js';
import { InFlight } from './in-flight.js';
import { loginOf } from './login.js';

export interface LinkHandlers {
  /** Called before a new connection is tried. Returns the connection's number, which its will and birth messages carry. */
  nextBirth(): number;
  /** Payload of the `status` message for the connection of that number. */
  status(state: 'online' | 'stopped' | 'offline', birthSeq: number): Buffer;
  /** Called when the topics are subscribed and the birth message is sent. */
  onConnected(protocol: ProtocolVersion): void;
  onDisconnected(error: CodedError): void;
  /** Called when an attempt failed or a connection ended. The link then tries again. */
  onFailed(error: CodedError): void;
  /**
   * Called for each message. It must return at once: MQTT.js acknowledges the message when it does, and late acknowledgements delay its keep-alive.
   */
  onMessage(topic: string, payload: Buffer, retained: boolean): void;
}

export interface LinkOptions {
  broker: Config['broker'] & { url: string };
  /** How the client id begins; the rest follows from the key or the password of the login. */
  clientId: string;
  statusTopic: string;
  subscriptions: string[];
  random?: () => number;
  /** Delays between attempts to connect; tests give shorter ones. */
  backoff?: { baseMs: number; capMs: number };
}

export type LinkState = 'stopped' | 'connecting' | 'connected' | 'waiting';

const CONNECT_TIMEOUT_MS = 15_000;
const GOODBYE_TIMEOUT_MS = 1200;
/** Upper bound for a websocket frame, which is collected as a whole. One frame may carry several packets. */
const MAX_FRAME_BYTES = 8 * MAX_PACKET_BYTES;
/**
 * After a connection that lasted this long, milliseconds, the next back-off begins at its base again. A mobile link that breaks every 20 s is usable in
 * between; a broker that hangs up at once is not.
 */
const GOOD_CONNECTION_MS = 10_000;
export const MAX_IN_FLIGHT = 16;

export class MqttLink {
  readonly #options: LinkOptions;
  readonly #handlers: LinkHandlers;
  readonly #log: Log;
  readonly #inFlight = new InFlight();
  #client: MqttClient | null = null;
  #state: LinkState = 'stopped';
  #protocol: ProtocolVersion;
  #backoffMs = 0;
  #birthSeq = 0;
  #connectedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #lastError: CodedError | null = null;
  #reconnects = 0;

  constructor(options: LinkOptions, handlers: LinkHandlers, log: Log) {
    this.#options = options;
    this.#handlers = handlers;
    this.#log = log;
    this.#protocol = options.broker.protocol === '3.1.1' ? 4 : 5;
  }

  get state(): LinkState { return this.#state; }
  get connected(): boolean { return this.#state === 'connected'; }
  get protocol(): ProtocolVersion { return this.#protocol; }
  get lastError(): CodedError | null { return this.#lastError; }
  /** Number of connections after the first one. */
  get reconnects(): number { return this.#reconnects; }
  get inFlight(): number { return this.#inFlight.size; }

  start(): void {
    if (this.#state === 'stopped') this.#attempt();
  }

  /** Says goodbye (`stopped`) if it is connected, and closes the connection. Idempotent. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    const client = this.#client;
    if (client !== null && this.connected) {
      const goodbye = this.publish(this.#options.statusTopic, this.#handlers.status('stopped', this.#birthSeq), { qos: 1, retain: true });
      await Promise.race([goodbye, delay(GOODBYE_TIMEOUT_MS)]).catch(() => undefined);
    }
    this.#state = 'stopped';
    this.#client = null;
    this.#inFlight.failAll(new AgentError('E_BROKER_AWAY', 'The link was stopped'));
    if (client !== null) await Promise.race([client.endAsync(), delay(GOODBYE_TIMEOUT_MS)]).catch(() => undefined);
    client?.stream?.destroy();
  }

  /**
   * With QoS 1 it resolves when the broker acknowledges the message. With QoS 0 it resolves when a later packet was acknowledged, which on one TCP
   * connection proves that this message arrived.
   * @throws AgentError E_BROKER_AWAY when the connection ends first, E_BROKER_REFUSED when the broker rejects the message
   */
  publish(topic: string, payload: Buffer, options: { qos: 0 | 1; retain?: boolean }): Promise<void> {
    const client = this.#client;
    if (client === null || !client.connected) return Promise.reject(new AgentError('E_BROKER_AWAY', 'Not connected'));
    const sent = this.#inFlight.add(options.qos);
    client.publish(topic, payload, { qos: options.qos, retain: options.retain ?? false }, (error) => {
      if (client !== this.#client) return; // This answer belongs to a connection that is over, whose messages have failed already.
      if (error !== undefined && error !== null) this.#inFlight.fail(sent.order, publishError(error));
      else if (options.qos === 1) this.#inFlight.acknowledge(sent.order);
    });
    return sent.promise;
  }

  #attempt(): void {
    this.#state = 'connecting';
    try {
      this.#birthSeq = this.#handlers.nextBirth();
      this.#client = this.#connect();
    } catch (error) {
      // A certificate that cannot be read, or a journal on a full disk, must not end the daemon: the next attempt may find it repaired.
      this.#retry(toCodedError(error), false);
    }
  }

  #connect(): MqttClient {
    const { broker } = this.#options;
    const client = connect(broker.url, this.#clientOptions());
    let reached = false;
    let failure: unknown = null;
    let over = false;
    const end = (error: unknown): void => {
      failure ??= error;
      if (over || client !== this.#client) return;
      over = true;
      const classified = classifyFailure({ error: failure, reached, protocol: this.#protocol });
      const wasConnected = this.#state === 'connected';
      this.#client = null;
      this.#inFlight.failAll(new AgentError('E_BROKER_AWAY', classified.message));
      client.end(true);
      client.stream?.destroy(); // MQTT.js ends only connections that it takes for connected, so a half-closed socket would stay.
      if (wasConnected) this.#lost({ code: classified.code, message: classified.message });
      else this.#retry({ code: classified.code, message: classified.message }, classified.otherProtocol);
    };
    // MQTT 5's Maximum Packet Size asks the broker to keep to this bound. The guard is for MQTT 3.1.1, and for brokers that ignore the request.
    guardPackets(client.stream, end);
    whenReached(client.stream, () => { reached = true; });
    client.once('connect', () => void this.#welcome(client).catch(end));
    client.on('packetsend', (packet) => {
      if (packet.cmd === 'pingreq') this.#inFlight.mark();
    });
    client.on('packetreceive', (packet) => { if (packet.cmd === 'pingresp') this.#inFlight.confirmMark(); });
    client.on('message', (topic, payload, packet) => this.#handlers.onMessage(topic, payload, packet.retain));
    client.on('error', (error) => { end(error); });
    client.on('disconnect', (packet) => { failure ??= Object.assign(new Error('the broker ended the connection'), { code: packet.reasonCode ?? 0 }); });
    client.on('close', () => end(null));
    return client;
  }

  #clientOptions(): IClientOptions {
    const { broker, clientId, statusTopic } = this.#options;
    const login = loginOf(broker);
    return {
      clientId: privateClientId(clientId, { ...login, url: broker.url }),
      protocolVersion: this.#protocol,
      clean: true,
      keepalive: broker.keepalive_s,
      reschedulePings: false, // Pings must also be sent when other packets are, because they prove that earlier QoS 0 messages arrived.
      connectTimeout: CONNECT_TIMEOUT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      will: { topic: statusTopic, payload: this.#handlers.status('offline', this.#birthSeq), qos: 1, retain: true },
      wsOptions: { maxPayload: MAX_FRAME_BYTES },
      ...(this.#protocol === 5 ? { properties: { receiveMaximum: 2 * MAX_IN_FLIGHT, maximumPacketSize: MAX_PACKET_BYTES } } : {}),
      ...login,
    };
  }

  /** Says, retained, that the device is online. Its number is that of the will of this connection. @throws AgentError E_BROKER_AWAY */
  async birth(): Promise<void> {
    await this.publish(this.#options.statusTopic, this.#handlers.status('online', this.#birthSeq), { qos: 1, retain: true });
  }

  /** Subscribes first and then sends the birth message, because whoever sees `online` may send messages at once. */
  async #welcome(client: MqttClient): Promise<void> {
    try {
      await client.subscribeAsync(this.#options.subscriptions, { qos: 1 });
    } catch (cause) {
      throw Object.assign(new Error(`subscribing failed: ${cause instanceof Error ? cause.message : String(cause)}`), { code: 0x87 });
    }
    if (client !== this.#client) return;
    await this.birth();
    if (client !== this.#client) return;
    if (this.#connectedAtMs > 0) this.#reconnects += 1;
    this.#state = 'connected';
    this.#connectedAtMs = performance.now();
    this.#lastError = null;
    this.#log.info('connected to the broker', { protocol: this.#protocol, birth_seq: this.#birthSeq });
    this.#handlers.onConnected(this.#protocol);
  }

  #lost(error: CodedError): void {
    if (performance.now() - this.#connectedAtMs >= GOOD_CONNECTION_MS) this.#backoffMs = 0;
    this.#handlers.onDisconnected(error);
    this.#retry(error, false);
  }

  #retry(error: CodedError, otherProtocol: boolean): void {
    if (this.#state === 'stopped') return;
    this.#lastError = error;
    this.#state = 'waiting';
    if (!(otherProtocol && this.#options.broker.protocol === 'auto')) this.#handlers.onFailed(error);
    const auto = this.#options.broker.protocol === 'auto';
    if (otherProtocol && auto) {
      this.#protocol = this.#protocol === 5 ? 4 : 5;
      if (this.#protocol === 4) return this.#later(0, error); // Only this change of version is tried at once.
    }
    const { baseMs, capMs } = this.#options.backoff ?? { baseMs: undefined, capMs: undefined };
    this.#backoffMs = nextBackoff(this.#backoffMs, (this.#options.random ?? Math.random)(), baseMs, capMs);
    // The broker may have been replaced by a newer one while it was away, so version 5 is tried again when it comes back.
    if (auto && this.#protocol === 4 && error.code === 'E_BROKER_AWAY' && this.#connectedAtMs === 0) this.#protocol = 5;
    this.#later(this.#backoffMs, error);
  }

  #later(delayMs: number, error: CodedError): void {
    this.#log.warn('not connected to the broker', { ...error, retry_ms: Math.round(delayMs) });
    this.#timer = setTimeout(() => { if (this.#state === 'waiting') this.#attempt(); }, delayMs);
  }
}

function publishError(error: Error): AgentError {
  const code = 'code' in error && typeof error.code === 'number' ? error.code : 0;
  return code >= 0x80
    ? new AgentError('E_BROKER_REFUSED', `The broker refused a message: ${error.message}`, { cause: error })
    : new AgentError('E_BROKER_AWAY', error.message, { cause: error });
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => { setTimeout(resolve, ms).unref(); });
}
