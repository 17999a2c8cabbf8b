/**
 * Base of every error that Sterna throws on purpose. `code` is stable and documented; nobody branches on message text.
 * Each folder keeps one table of its codes (`kernels/binding/errors.ts`, `runtime/errors.ts`, `agent/errors.ts`, `deploy/errors.ts`).
 */
export class SternaError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: Code, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Codes of the native core and its binding, with their meanings. */
export const kernelErrorCodes = {
  E_NATIVE_MISSING: 'the native addon was not found; the message lists every path that was tried, the reason why it failed, and what to do',
  E_PROGRAM_MALFORMED: 'the bytes are not a well-formed program',
  E_PROGRAM_VERSION: 'the program was written for another format version',
  E_PROGRAM_OP: 'no built kernel supports an op or its combination of attributes',
  E_PROGRAM_SHAPE: 'the tensors of an op do not fit together',
  E_PROGRAM_LIMIT: 'the program exceeds a memory or count limit',
  E_PROGRAM_FILE: "a program's file is shorter than stated, cannot be read, or does not match its checksum",
  E_ISA: 'the requested instruction set is not built in, or this CPU does not support it',
  E_OUT_OF_MEMORY: 'memory for the arena or the packed weights could not be allocated',
  E_ARGUMENT: 'an argument of a native call has the wrong type, size or state',
} as const;

export type KernelErrorCode = keyof typeof kernelErrorCodes;

export class KernelError extends SternaError<KernelErrorCode> {}
