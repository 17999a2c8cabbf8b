/** How bytes of the model's file are copied. */
let copy = (target: Uint8Array, source: Uint8Array): void => target.set(source);

/**
 * From now on, `call` copies bytes of models on this thread. The thread that compiles has the file in memory that threads share, which `set` of typed arrays
 * copies byte by byte.
 */
export function copyWith(call: (target: Uint8Array, source: Uint8Array) => void): void {
  copy = call;
}

/** Copies bytes into as many others. */
export const copyBytes = (target: Uint8Array, source: Uint8Array): void => copy(target, source);
