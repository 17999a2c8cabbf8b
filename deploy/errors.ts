import { SternaError } from '../kernels/errors.js';

/** Codes of the command line and of the fleet side, with what each means. */
export const deployErrorCodes = {
  E_USAGE: 'a command line that makes no sense: unknown command or option, missing or malformed argument',
  E_FILE: 'a file or folder given on the command line is not there or cannot be read',
  E_OUTPUT: 'a result cannot be written',
  E_INTERNAL: 'a defect of Sterna itself; the stack trace is on stderr',
} as const;

export type DeployErrorCode = keyof typeof deployErrorCodes;

export class DeployError extends SternaError<DeployErrorCode> {}
