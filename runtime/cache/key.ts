import { createHash } from 'node:crypto';

/** JSON with the keys of objects in order, so that equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** Everything that a packed program depends on. */
export interface ProgramIdentity {
  /** SHA-256 of the model file, lower-case hexadecimal. */
  readonly model: string;
  /** Version of the runtime, and what tells two builds of one version apart. */
  readonly runtime: { readonly version: string; readonly build: readonly string[] };
  /** The variants that may run, and the one that the program is for. */
  readonly cpu: { readonly isas: readonly string[]; readonly isa: string };
  /** As given to the compiler, whatever there is: pixels, symbols, the type of activations. */
  readonly compile: object;
  /** Weights are packed for so many threads. */
  readonly threads: number;
}

/** The name of a cached program: SHA-256 over all that it depends on, lower-case hexadecimal. */
export const programKey = (identity: ProgramIdentity): string => createHash('sha256').update(canonicalJson(identity)).digest('hex');
