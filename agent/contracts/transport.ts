import type { Duplex } from 'node:stream';

/**
 * Calls back once TCP, and TLS where it is used, is connected. MQTT.js writes CONNECT into its stream before that, so a packet that was sent says
 * nothing. A stream over a websocket does not tell, and the callback is never called.
 */
export function whenReached(stream: Duplex, then: () => void): void {
  stream.once('encrypted' in stream ? 'secureConnect' : 'connect', then);
}
