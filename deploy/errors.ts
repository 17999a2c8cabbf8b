import { SternaError } from '../kernels/binding/errors.js';

/** Codes of the command line and of the fleet side, with what each means. */
export const deployErrorCodes = {
  E_USAGE: 'the command line is invalid: an unknown command or option, or a missing or malformed argument',
  E_FILE: 'a file or folder given on the command line does not exist or cannot be read',
  E_OUTPUT: 'a result cannot be written',
  E_BROKER_LISTEN: 'the embedded broker cannot listen on its port',
  E_BROKER_CONNECT: 'the broker cannot be reached, or refuses the connection',
  E_PUBLISH: 'a package cannot be published: it cannot be read, or the broker does not accept it',
  E_DEVICE_UNKNOWN: 'no device of that name has ever reported to this broker in this fleet; the message lists those that have',
  E_DEVICE_PIPELINE: 'a device has no pipeline of that name, or has several and none was chosen with --pipeline',
  E_DEVICE_UPDATING: 'an update of the device is under way, which a message with settings alone would end',
  E_DEVICE_OFFLINE: 'a command needs a device that is connected, and this one is not',
  E_DEVICE_REJECTED: 'a device received the package and refused it; the message carries its own error code',
  E_DEVICE_SUPERSEDED: 'somebody else asked the device to run another package meanwhile',
  E_DEVICE_TIMEOUT: 'a device did not report the outcome of an update in time, or did not answer a command',
  E_DEVICE_COMMAND: 'a device received a command and could not carry it out; the message carries its own error code',
  E_GENERATION: 'the generation of a device cannot be increased: the device has seen the largest possible number',
  E_SETTINGS: 'a file of settings is not JSON, or has a key or value that no pipeline takes',
  E_HANDOVER: 'no running `sterna fleet serve` can take the package over, or its folder cannot be used',
  E_ROLLOUT: 'a roll-out does not exist, cannot be begun or changed as requested, or its database cannot be used',
  E_KEY: 'a key file is missing, damaged, encrypted without a passphrase that opens it, or its command did not sign',
  E_REPOSITORY: 'a repository does not exist, is not completely signed, has expired, or cannot be changed as requested',
  E_REPOSITORY_TARGET: 'a package, or a release of settings, is not in the repository, so no device would accept it',
  E_PROVISION: 'a device cannot be provisioned: openssl is missing or failed, or a key exists already',
  E_INTERRUPTED: 'the command was interrupted before every device had finished',
  E_DEVICE_API: 'the local API of a device cannot be reached, or refused a request',
  E_PORT_BUSY: 'another process uses the port of the page; choose another port with --port',
  E_COLLECTOR: 'the collector cannot open or write its database',
  E_NPM: 'npm is missing, or cannot fetch a pinned package (offline, registry unreachable)',
  E_ASSET: 'a fetched file differs from the pinned one, or the cache cannot be written',
  E_FFMPEG: 'ffmpeg is missing and cannot be fetched, or failed on a file',
  E_AGENT: 'the agent process did not start, or ended on its own',
  E_BENCH: 'a benchmark could not run as requested, or its report or table cannot be read',
  E_LAB: 'a model cannot be trained as requested: data, labels, teacher or checkpoint do not fit, or the loss is no number; the message names the step and the tensor, and the last checkpoint is kept',
  E_DEMO: 'a step of `sterna up` did not reach its goal in time',
  E_INTERNAL: 'a defect in Sterna; the stack trace is on stderr',
} as const;

export type DeployErrorCode = keyof typeof deployErrorCodes;

export class DeployError extends SternaError<DeployErrorCode> {}
