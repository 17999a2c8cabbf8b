import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { DeployError } from '../errors.js';

export interface LinkOptions {
  /** mqtt://, mqtts://, ws:// or wss://; may carry user and password. */
  url: string;
  clientId: string;
  username?: string;
  password?: string;
  /** PEM file of the authority that signed the broker's certificate, when it is not a public one. */
  caFile?: string;
  /** How long the first connection may take. Default 10 s. */
  connectTimeoutMs?: number;
}

/** Return code of CONNACK in MQTT 3.1.1, "unacceptable protocol version", and its MQTT 5 counterpart. */
const PROTOCOL_REFUSED: readonly unknown[] = [1, 0x84];

/**
 * Connects one fleet-side program to a broker: MQTT 5, and 3.1.1 where the broker does not know it. Afterwards mqtt.js
 * reconnects once a second and subscribes again; a device, of which there are many, has its own back-off.
 * @throws DeployError E_BROKER_CONNECT
 */
export async function connectLink(options: LinkOptions): Promise<MqttClient> {
  const deadline = Date.now() + (options.connectTimeoutMs ?? 10_000);
  let lastError: Error | null = null;
  for (const protocolVersion of [5, 4] as const) {
    const client = connect(options.url, clientOptions(options, protocolVersion));
    lastError = await settled(client, deadline - Date.now());
    if (lastError === null) {
      client.on('error', () => undefined); // a failing reconnect is no event of ours: 'close' and 'connect' tell
      return client;
    }
    await client.endAsync(true).catch(() => undefined);
    if (!PROTOCOL_REFUSED.includes('code' in lastError ? lastError.code : undefined)) break;
  }
  throw new DeployError('E_BROKER_CONNECT', `The broker ${redact(options.url)} cannot be used: ${lastError?.message ?? 'no answer'}`, {
    ...(lastError === null ? {} : { cause: lastError }),
    details: { url: redact(options.url) },
  });
}

function clientOptions(options: LinkOptions, protocolVersion: 4 | 5): IClientOptions {
  return {
    clientId: options.clientId,
    protocolVersion,
    clean: true,
    keepalive: 30,
    reconnectPeriod: 1000,
    queueQoSZero: false,
    ...(options.username === undefined ? {} : { username: options.username }),
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.caFile === undefined ? {} : { caPaths: options.caFile }),
  };
}

/** Null when connected, else why not. */
async function settled(client: MqttClient, timeoutMs: number): Promise<Error | null> {
  return new Promise((resolve) => {
    let latest: Error = new Error(`no connection within ${Math.max(0, Math.round(timeoutMs))} ms`);
    const done = (result: Error | null): void => {
      clearTimeout(timer);
      client.removeListener('connect', onConnect);
      client.removeListener('error', onError);
      client.on('error', () => undefined);
      resolve(result);
    };
    const onConnect = (): void => done(null);
    const onError = (error: Error): void => {
      latest = error;
      // A refusal is final; an unreachable address may come up within the time allowed.
      if ('code' in error && typeof error.code === 'number') done(error);
    };
    const timer = setTimeout(() => done(latest), Math.max(1, timeoutMs));
    client.on('connect', onConnect);
    client.on('error', onError);
  });
}

/** The address without its password. */
export function redact(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//***@');
}
