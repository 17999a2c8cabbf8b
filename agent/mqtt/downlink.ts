/** Messages from the broker, taken apart and handed on. Returns at once: MQTT.js acknowledges when this is done. */
import { decodePayload, desiredSchema, parseTopic, type Desired, type DeviceAddress } from '../contracts/index.js';
import { toCodedError } from '../errors.js';
import type { Faults } from '../events/faults.js';
import type { Counters } from '../telemetry/counters.js';

export interface DownlinkParts {
  address: DeviceAddress;
  counters: Counters;
  faults: Faults;
  onDesired: (desired: Desired) => void;
  onCommand: (name: string, payload: Buffer) => void;
  onBlock: (digest8: string, index: number, message: Buffer) => void;
}

export class Downlink {
  readonly #parts: DownlinkParts;

  constructor(parts: DownlinkParts) {
    this.#parts = parts;
  }

  receive(text: string, payload: Buffer, retained: boolean): void {
    const { address, counters, faults } = this.#parts;
    const parsed = parseTopic(text);
    if (parsed === null || parsed.fleet !== address.fleet || parsed.device !== address.device) return;
    try {
      const { topic } = parsed;
      if (topic.kind === 'ota_block') this.#parts.onBlock(topic.digest8, topic.index, payload);
      // An empty retained message only clears the topic.
      else if (topic.kind === 'desired' && payload.length > 0) this.#desired(payload);
      // A retained command would be executed at every connection; commands are for now.
      else if (topic.kind === 'cmd' && !retained) this.#parts.onCommand(topic.name, payload);
    } catch (error) {
      counters.add('messages_refused_total');
      faults.raise('mqtt', { ...toCodedError(error), message: `${text}: ${toCodedError(error).message}` }, 'warning');
    }
  }

  #desired(payload: Buffer): void {
    this.#parts.onDesired(decodePayload(desiredSchema, payload));
    this.#parts.faults.clear('mqtt', 'E_PAYLOAD');
    this.#parts.faults.clear('mqtt', 'E_PAYLOAD_VERSION');
  }
}
