/** Decides what a failed attempt to connect means. Pure: it takes what MQTT.js and the sockets report. */
import { redact } from '../../runtime/redact.js';
import { ContractError } from '../contracts/index.js';
import type { AgentErrorCode } from '../errors.js';

export type ProtocolVersion = 4 | 5;

export interface ConnectFailure {
  code: Extract<AgentErrorCode, `E_BROKER_${string}`> | 'E_PACKET_SIZE';
  message: string;
  /** Whether the broker may speak the other version of MQTT, so that this one should be tried at once. */
  otherProtocol: boolean;
}

export interface FailureFacts {
  /** Error of MQTT.js or of the socket; null when the connection was closed without an error. */
  error: unknown;
  /** Whether a TCP, TLS or websocket connection had been made. */
  reached: boolean;
  protocol: ProtocolVersion;
}

/** Codes in CONNACK: MQTT 3.1.1 return codes (section 3.2.2.3), and MQTT 5 reason codes (section 3.2.2.2). */
const UNSUPPORTED_VERSION: ReadonlySet<number> = new Set([1, 0x84]);
const REFUSED: ReadonlyMap<number, string> = new Map([
  [2, 'client identifier rejected'], [4, 'bad user name or password'], [5, 'not authorized'],
  [0x85, 'client identifier not valid'], [0x86, 'bad user name or password'], [0x87, 'not authorized'], [0x8a, 'banned'], [0x8c, 'bad authentication method'],
]);

export function classifyFailure(facts: FailureFacts): ConnectFailure {
  if (facts.error instanceof ContractError) return { code: 'E_PACKET_SIZE', message: facts.error.message, otherProtocol: false };
  const code = numericCode(facts.error);
  if (code !== null && UNSUPPORTED_VERSION.has(code)) {
    return { code: 'E_BROKER_PROTOCOL', message: `The broker does not speak MQTT ${facts.protocol === 5 ? '5' : '3.1.1'}`, otherProtocol: true };
  }
  const refusal = code === null ? undefined : REFUSED.get(code);
  if (refusal !== undefined) {
    return { code: 'E_BROKER_REFUSED', message: `The broker refused the connection: ${refusal} (${code}); check broker.username, password_file and tls`, otherProtocol: false };
  }
  const text = facts.error instanceof Error ? redact(facts.error.message || facts.error.name) : 'the connection closed before the broker answered';
  // A broker that knows only MQTT 3.1.1 may hang up on a version 5 CONNECT, or answer in a form that a version 5 parser refuses.
  return { code: 'E_BROKER_AWAY', message: `The broker cannot be reached: ${text}`, otherProtocol: facts.reached && facts.protocol === 5 };
}

function numericCode(error: unknown): number | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' ? error.code : null;
}
