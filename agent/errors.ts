import { redact } from '../runtime/redact.js';
import { SternaError } from '../kernels/errors.js';

/** Codes of the daemon, with what each means. They appear in `reported`, in fault events, in the log and in the local API. */
export const agentErrorCodes = {
  E_CONFIG: 'the configuration is invalid; the message lists each key with what was expected and received',
  E_STATE_LOCKED: 'another daemon uses this state folder',
  E_STATE: 'the state folder cannot be created, read or written',
  E_STATE_CORRUPT: 'a database in the state folder was damaged; it was moved aside and a new one begun',
  E_STATE_RECOVERED: 'a copy of what runs on this device was missing or damaged; it was restored from the other copy or from the packages themselves',
  E_STATE_VOLATILE: 'the state folder cannot be written; decisions are kept in memory and are lost at the next start',
  E_DISK_FULL: 'no space is left for a package or a database',
  E_STATE_READ_ONLY: 'the state folder cannot be written: it is mounted read-only, or belongs to another user',
  E_BROKER_AWAY: 'the broker cannot be reached, or the connection broke',
  E_BROKER_REFUSED: 'the broker refused the connection: credentials, client id or authorisation',
  E_BROKER_PROTOCOL: 'the broker speaks no MQTT version that is allowed here',
  E_OTA_GENERATION: 'a generation is further ahead of the last one than a publisher can have counted; the message was ignored',
  E_OTA_SIZE: 'a package is larger than declared or allowed, or a block has the wrong length',
  E_OTA_STALL: 'no block arrived for too long, again and again',
  E_OTA_UNAVAILABLE: 'the other end has no package of the wanted digest',
  E_OTA_BLOCK: 'too many blocks arrived damaged',
  E_OTA_HASH: 'the SHA-256 of the whole package is not the wanted one',
  E_OTA_PACKAGE: 'the package cannot be opened, or is not the one that was announced',
  E_OTA_GATE_ACCURACY: 'the golden vectors came out wrong on this device',
  E_OTA_GATE_LATENCY: 'the p99 of the self-test exceeds the budget of the manifest',
  E_OTA_GATE_MEMORY: 'the pipeline needs more memory than the budget of the manifest, or its test more than ota.warm_memory_bytes',
  E_OTA_GATE_TIMEOUT: 'opening and testing the package took longer than ota.warm_timeout_ms',
  E_OTA_GATE_CRASH: 'the process that opened or tested the package crashed by itself, more than once',
  E_OTA_GATE_KILLED: 'the test of the package was cut off from outside (a kill, want of memory, a power cut); it is repeated, later each time',
  E_OTA_PROBATION: 'the new package kept crashing or failing after the switch',
  E_OTA_SUPERSEDED: 'a newer generation arrived before the installation was done',
  E_OTA_ROLLBACK: 'rolled back on request',
  E_OTA_NO_PREVIOUS: 'there is no previous package to go back to',
  E_ACTIVE_UNUSABLE: 'the active package is missing, damaged or cannot be opened any more',
  E_CAMERA_LOST: 'the camera or stream ended or cannot be opened; it is tried again',
  E_PIPELINE: 'the pipeline failed on a frame',
  E_GALLERY_SPACE: 'enrolled people belong to another embedder than the running one; they must be enrolled again',
  E_NO_MODEL: 'no package is active yet',
  E_NO_FRAME: 'no frame has arrived yet',
  E_COMMAND: 'a command is unknown, expired or has wrong arguments',
  E_REQUEST: 'a request to the local API is malformed, or has a field or parameter that is not known',
  E_REQUEST_ORIGIN: 'a request to the local API has a Host or Origin that may not ask',
  E_REQUEST_LENGTH: 'a request to the local API has a body without a Content-Length',
  E_REQUEST_SIZE: 'a request to the local API is too large',
  E_UNAUTHORISED: 'a request to the local API lacks the bearer token, or has a wrong one',
  E_NOT_FOUND: 'the local API has no such path, or no such person',
  E_BUSY: 'the local API does too much at the moment: event streams, large bodies or an enrolment; try again',
  E_API_UNAVAILABLE: 'the address of the local API is taken or not there; the daemon runs without the API and tries again',
  E_STOP_TIMEOUT: 'a part of the daemon did not stop within its deadline; the others were stopped all the same (in the log only)',
  E_INTERNAL: 'a defect in the daemon; please report it with the log',
} as const;

export type AgentErrorCode = keyof typeof agentErrorCodes;

export class AgentError extends SternaError<AgentErrorCode> {}

export { SternaError };

export interface CodedError {
  code: string;
  message: string;
}

/** Anything that was thrown, as code and message, without passwords in addresses. Errors without a code are our defects. */
export function toCodedError(error: unknown): CodedError {
  if (error instanceof SternaError) return { code: error.code, message: redact(error.message) };
  return { code: 'E_INTERNAL', message: redact(error instanceof Error ? error.message : String(error)) };
}
