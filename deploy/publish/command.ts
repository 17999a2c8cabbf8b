import { randomUUID } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import {
  commandSchema, decodePayload, deviceTopic, encodePayload, responseSchema, SCHEMA_VERSION, MAX_COMMAND_LIFE_MS, type CommandName, type CommandStatement, type DeviceAddress, type Response, type Status,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';

/** @returns the text of the message's `signed` */
export type CommandSigner = (statement: CommandStatement) => string;

export interface CommandRequest {
  address: DeviceAddress;
  name: CommandName;
  /** The pipeline that it concerns; absent: the first of the device. */
  pipeline?: string;
  args?: Record<string, unknown>;
  timeoutMs: number;
  /** Signs the command. Without one, only devices in the unsigned mode of development carry it out. */
  signer?: CommandSigner;
  signal?: AbortSignal;
  /** Of the device: a command is not sent to one that is away, for the broker keeps none for it. */
  status: Status | null;
}

/**
 * Sends one command to a device and waits for its answer. It expires with the waiting; unsigned, only where the device's clock can be believed.
 * @throws DeployError E_DEVICE_OFFLINE, E_DEVICE_TIMEOUT, E_DEVICE_COMMAND when the device could not do it; the signal's reason
 */
export async function sendCommand(client: MqttClient, { address, name, pipeline, args = {}, timeoutMs, signer, signal, status }: CommandRequest): Promise<Response> {
  const { device } = address;
  if (status !== null && status.state !== 'online') throw new DeployError('E_DEVICE_OFFLINE', `${device} is ${status.state}: it cannot receive the command ${name}`, { details: { device, state: status.state } });
  const id = `cli-${randomUUID()}`;
  const topic = deviceTopic(address, { kind: 'res', id });
  const expiry = status?.clock_synchronized === true ? { expires_ms: Date.now() + timeoutMs } : {};
  const now = Date.now();
  const signed = signer?.({ fleet: address.fleet, device, command: name, id, pipeline: pipeline ?? null, args, issued_ms: now, expires_ms: now + Math.min(timeoutMs, MAX_COMMAND_LIFE_MS) });
  const payload = encodePayload(commandSchema, { schema_version: SCHEMA_VERSION, id, ...(pipeline === undefined ? {} : { pipeline }), args, ...(signed === undefined ? expiry : { signed }) });
  const answer = waitForAnswer(client, topic, { device, name, timeoutMs, ...(signal === undefined ? {} : { signal }) });
  answer.catch(() => undefined); // awaited below, after the sending
  await client.subscribeAsync(topic, { qos: 1 });
  await client.publishAsync(deviceTopic(address, { kind: 'cmd', name }), payload, { qos: 1 });
  const response = await answer;
  if (response.ok) return response;
  throw new DeployError('E_DEVICE_COMMAND', `${device} could not carry out ${name}: ${response.code ?? 'no code'}: ${response.message ?? 'no reason'}`, { details: { device, command: name, code: response.code } });
}

interface Waiting { device: string; name: string; timeoutMs: number; signal?: AbortSignal }

function waitForAnswer(client: MqttClient, topic: string, { device, name, timeoutMs, signal }: Waiting): Promise<Response> {
  return new Promise((resolve, reject) => {
    const finish = (action: () => void): void => {
      clearTimeout(timer);
      client.removeListener('message', onMessage);
      signal?.removeEventListener('abort', onAbort);
      action();
    };
    const onMessage = (from: string, payload: Buffer): void => {
      if (from !== topic) return;
      try {
        const response = decodePayload(responseSchema, payload);
        finish(() => resolve(response));
      } catch {
        // Not an answer: whoever may write this topic cannot end the waiting with nonsense.
      }
    };
    const onAbort = (): void => finish(() => reject(signal?.reason ?? new Error('aborted')));
    const timer = setTimeout(() => finish(() => reject(new DeployError('E_DEVICE_TIMEOUT', `${device} did not answer ${name} within ${Math.round(timeoutMs / 1000)} s. It may still carry it out`, { details: { device, command: name } }))), timeoutMs);
    client.on('message', onMessage);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted === true) onAbort();
  });
}
