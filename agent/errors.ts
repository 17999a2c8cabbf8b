import { redact } from '../runtime/redact.js';
import { SternaError } from '../kernels/binding/errors.js';

/** Codes of the daemon, with what each means. They appear in `reported`, in fault events, in the log and in the local API. */
export const agentErrorCodes = {
  E_CONFIG: 'the configuration is invalid; the message lists each wrong key with the expected and the received value',
  E_STATE_LOCKED: 'another daemon uses this state folder',
  E_STATE: 'the state folder cannot be created, read or written',
  E_STATE_CORRUPT: 'a database in the state folder was damaged; it was moved aside, and a new one was created',
  E_STATE_RECOVERED: 'a record of what runs on this device was missing or damaged; it was restored from the other copy or from the packages',
  E_STATE_VOLATILE: 'the state folder cannot be written; decisions are kept in memory and are lost at the next start',
  E_DISK_FULL: 'no space is left for a package or a database',
  E_STATE_READ_ONLY: 'the state folder cannot be written: it is mounted read-only, or belongs to another user',
  E_BROKER_AWAY: 'the broker cannot be reached, or the connection broke',
  E_BROKER_REFUSED: 'the broker refused the connection because of credentials, client id or authorization',
  E_BROKER_PROTOCOL: 'the broker supports no MQTT version that the configuration allows',
  E_OTA_GENERATION: 'a generation is too far ahead of the last one to be genuine; the message was ignored',
  E_TRUST_UNSIGNED: 'a message that would change the device has no signatures',
  E_TRUST_FORMAT: 'signed metadata is malformed: not JSON, not of its role, an unusable version, expiry or key',
  E_TRUST_SIZE: 'signed metadata is larger than its role allows',
  E_TRUST_PARTIAL: 'signed metadata is incomplete: a root, a delegated role or the image repository is missing',
  E_TRUST_SIGNATURE: 'metadata is not signed by enough of the keys that are trusted for its role',
  E_TRUST_ROLLBACK: 'metadata is older than what this device has verified before, or an entry has vanished',
  E_TRUST_FREEZE: 'metadata has expired; the running package stays, and nothing new is installed',
  E_TRUST_CLOCK: 'the clock of this device is years ahead of the newest signed time, so no expiry can be judged; set the clock',
  E_TRUST_MIX: 'metadata files do not belong together: a hash, length or version is not the one that the file above it states',
  E_TRUST_ARBITRARY: 'the director names a package that the image repository does not have',
  E_TRUST_DISAGREE: 'director and image repository state different lengths, hashes, hardware or release counters for a package',
  E_TRUST_ADDRESS: 'the signatures are for another fleet, device, pipeline or message',
  E_TRUST_HARDWARE: 'the package is for other hardware than that of this device',
  E_TRUST_RELEASE: 'the release counter of the package is smaller than that of a package of this name that ran on this device',
  E_TRUST_ROOT: 'no usable pinned root metadata: nothing can be verified, and nothing is installed (sterna provision writes it)',
  E_TRUST_OFF: 'the device runs in the unsigned mode of development: whoever may publish to it decides what it runs',
  E_TRUST_COMMAND: 'a command is not signed by a role that may give it',
  E_TRUST_COMMAND_ADDRESS: 'a signed command is for another device, or differs from the message that carries it',
  E_TRUST_COMMAND_EXPIRED: 'a signed command has expired, or would live too long',
  E_TRUST_COMMAND_REPLAYED: 'a command with this id was taken before; it is not carried out again',
  E_OTA_SIZE: 'a package is larger than declared or allowed, or a block has the wrong length',
  E_OTA_STALL: 'no block arrived for too long, repeatedly',
  E_OTA_UNAVAILABLE: 'the publisher does not have the requested package',
  E_OTA_SLOW: 'a package arrives more slowly than ota.min_bytes_per_s',
  E_OTA_BLOCK: 'too many blocks were damaged on arrival',
  E_OTA_CHUNK: 'a chunk of a package arrived repeatedly with other bytes than those that were signed',
  E_OTA_LIST: 'the list of chunks of a package arrived repeatedly with other bytes than those that were signed',
  E_OTA_HASH: 'the SHA-256 of the whole package is not the expected one',
  E_OTA_PACKAGE: 'the package cannot be opened, or is not the one that was announced',
  E_OTA_GATE_ACCURACY: 'the results of the golden vectors are wrong on this device',
  E_OTA_GATE_LATENCY: 'the p99 of the self-test exceeds the budget of the manifest',
  E_OTA_GATE_MEMORY: 'the pipeline needs more memory than the budget of the manifest allows, or its test needs more than ota.warm_memory_bytes',
  E_OTA_GATE_ENERGY: 'an inference of the self-test needs more energy than the budget of the manifest',
  E_OTA_GATE_GOLDEN: 'the package has no golden vectors, so nothing shows that it computes correctly here; the setting update.gate.allow_without_golden allows it',
  E_OTA_GATE_SPACE: 'the package embeds faces in another space than that of the enrolled people, and has no plan for them (sterna package --gallery-plan)',
  E_OTA_LIMIT_LATENCY: 'the p99 of the self-test exceeds the limit of this device (gate.p99_ms)',
  E_OTA_LIMIT_MEMORY: 'the pipeline needs more memory than this device allows (gate.ram_bytes)',
  E_OTA_LIMIT_ENERGY: 'an inference of the self-test needs more energy than this device allows (gate.joules)',
  E_OTA_GATE_TIMEOUT: 'opening and testing the package took longer than ota.warm_timeout_ms',
  E_OTA_GATE_CRASH: 'the process that opens or tests the package crashed more than once, and nothing outside had killed it',
  E_OTA_GATE_KILLED: 'the test of the package was interrupted from outside (a kill, lack of memory, a power cut); it is repeated after growing delays',
  E_OTA_SHADOW_AGREEMENT: 'beside the serving package, the new one found too little of the same (update.shadow); the serving one stays',
  E_OTA_SHADOW_LATENCY: 'beside the serving package, the new one took too long for a frame of this camera',
  E_OTA_SHADOW_ENERGY: 'beside the serving package, the new one used too much energy for a frame of this camera',
  E_OTA_SHADOW_ERRORS: 'beside the serving package, the new one failed on too many frames of this camera',
  E_OTA_SHADOW_SAMPLES: 'too few frames came to compare the new package with the serving one, and the rules ask for them (update.shadow.undecided)',
  E_GATE_TIGHTENED: 'an audit showed that the gates miss more than their limit; their thresholds were lowered',
  E_GATE_OFF: 'the gates miss more than their limit even when tightened; they are switched off, and every frame runs in full',
  E_OTA_PROBATION: 'the new package kept crashing or failing after the switch',
  E_OTA_PROBATION_ERRORS: 'within its probation, the new package failed on too many frames; the package before runs again',
  E_OTA_PROBATION_LATENCY: 'within its probation, the new package took too long for a frame; the package before runs again',
  E_OTA_PROBATION_AUDIT: 'within its probation, the gates of the new package missed too much; the package before runs again',
  E_OTA_PROBATION_HEAT: 'within its probation, the new package heated the processor until it was slowed down; the package before runs again',
  E_OTA_STARTS: 'the daemon crashed or hung at several starts in a row; the package before runs again, or the factory package',
  E_OTA_FACTORY: 'the factory package (pipeline.factory) is missing or cannot be read; the device goes on without it',
  E_OTA_SUPERSEDED: 'a newer generation arrived before the installation was complete',
  E_OTA_ROLLBACK: 'the device went back to its previous package on request',
  E_OTA_NO_PREVIOUS: 'there is no previous package to go back to',
  E_ACTIVE_UNUSABLE: 'the active package is missing or damaged, or can no longer be opened',
  E_CAMERA_LOST: 'the camera or stream ended or cannot be opened; the daemon tries again',
  E_CAMERA_SIZE: 'the camera delivers pictures of another size than before; the pipeline goes on with the new size',
  E_CAMERA_FRAMES: 'the camera delivers damaged pictures; they are left out, and the pipeline goes on',
  E_PIPELINE: 'the pipeline failed on a frame',
  E_GALLERY_SPACE: 'the enrolled people were enrolled with another embedder than the running one; they must be enrolled again',
  E_NO_MODEL: 'no package is active yet',
  E_NO_FRAME: 'no frame has arrived yet',
  E_PIPELINE_UNKNOWN: 'a message or request names a pipeline that this device does not have',
  E_COMMAND: 'a command is unknown, has expired or has wrong arguments',
  E_REQUEST: 'a request to the local API is malformed, or has an unknown field or parameter',
  E_REQUEST_ORIGIN: 'a request to the local API has a Host or Origin that is not allowed',
  E_REQUEST_LENGTH: 'a request to the local API has a body without a Content-Length',
  E_REQUEST_SIZE: 'a request to the local API is too large',
  E_UNAUTHORIZED: 'a request to the local API lacks the bearer token, or has a wrong one',
  E_NOT_FOUND: 'the local API has no such path, or no such person',
  E_RECORDINGS: 'the recordings cannot be opened, or a picture or clip of an event could not be kept; the message says why. Everything else goes on',
  E_BUSY: 'the local API is busy with event streams, large bodies or an enrollment; try again later',
  E_API_UNAVAILABLE: 'the address of the local API is taken or does not exist; the daemon runs without the API and tries again',
  E_STOP_TIMEOUT: 'a part of the daemon did not stop within its deadline; the other parts were stopped (only in the log)',
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
