import { SternaError } from '../kernels/errors.js';

/** Codes of the command line and of the fleet side, with what each means. */
export const deployErrorCodes = {
  E_USAGE: 'a command line that makes no sense: unknown command or option, missing or malformed argument',
  E_FILE: 'a file or folder given on the command line is not there or cannot be read',
  E_OUTPUT: 'a result cannot be written',
  E_BROKER_LISTEN: 'the embedded broker cannot listen on its port',
  E_BROKER_CONNECT: 'the broker cannot be reached, or refuses the connection',
  E_PUBLISH: 'a package cannot be published: it cannot be read, or the broker does not take it',
  E_DEVICE_UNKNOWN: 'no device of that name has ever reported to this broker in this fleet; the message names those that have',
  E_DEVICE_OFFLINE: 'a command needs a device that is connected, and this one is not',
  E_DEVICE_REJECTED: 'a device received the package and refused it; the message carries its own error code',
  E_DEVICE_SUPERSEDED: 'somebody else asked the device to run another package meanwhile',
  E_DEVICE_TIMEOUT: 'a device did not say in time what became of the package, or did not answer a command',
  E_DEVICE_COMMAND: 'a device received a command and could not carry it out; the message carries its own error code',
  E_GENERATION: 'the generation of a device cannot be continued: it has seen the largest number that there is',
  E_HANDOVER: 'no running `sterna fleet serve` takes a package over, or its folder cannot be used',
  E_INTERRUPTED: 'interrupted before every device was done',
  E_DEVICE_API: 'the local API of a device cannot be reached, or refused a request',
  E_PORT_BUSY: 'another process listens on the port of the page; choose another with --port',
  E_COLLECTOR: 'the collector cannot open or write its database',
  E_NPM: 'npm is missing, or cannot fetch a pinned package (offline, registry unreachable)',
  E_ASSET: 'a fetched file is not the pinned one, or the cache cannot be written',
  E_FFMPEG: 'ffmpeg is missing and cannot be fetched, or failed on a file',
  E_AGENT: 'the agent process did not start, or ended on its own',
  E_BENCH: 'a bench could not measure what it was asked to, or its report or table cannot be read',
  E_DEMO: 'a step of `sterna up` did not reach its goal in time',
  E_INTERNAL: 'a defect of Sterna itself; the stack trace is on stderr',
} as const;

export type DeployErrorCode = keyof typeof deployErrorCodes;

export class DeployError extends SternaError<DeployErrorCode> {}
