/** What is done to all bytes of a model's file. The native ones do it at the speed of memory, also where threads share that. */
export interface BulkCalls {
  copyBytes(target: Uint8Array, source: Uint8Array): void;
  allFinite(data: Float32Array): boolean;
}

/**
 * Whether all of the numbers are finite. A product with 0 is 0 for those, and NaN for the others. A plain loop, since weights are millions, with four
 * sums, since each addition waits for the one before.
 */
function allFiniteHere(data: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = data.length - (data.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += (data[i] ?? 0) * 0;
    b += (data[i + 1] ?? 0) * 0;
    c += (data[i + 2] ?? 0) * 0;
    d += (data[i + 3] ?? 0) * 0;
  }
  for (let i = whole; i < data.length; i++) a += (data[i] ?? 0) * 0;
  return a + b + c + d === 0;
}

let calls: BulkCalls = { copyBytes: (target, source) => target.set(source), allFinite: allFiniteHere };

/**
 * From now on, this thread uses these. The thread that compiles has the file in memory that threads share, which `set` of typed arrays copies byte by
 * byte, and it runs most loops before V8 has compiled them.
 */
export function bulkWith(native: BulkCalls): void {
  calls = native;
}

/** Copies bytes into as many others. */
export const copyBytes = (target: Uint8Array, source: Uint8Array): void => calls.copyBytes(target, source);

/** Whether all of the numbers are finite. */
export const allFinite = (data: Float32Array): boolean => calls.allFinite(data);

/** Whether one of the bytes is this one: 'includes' of typed arrays takes ten times as long as that of buffers. */
export const includesByte = ({ buffer, byteOffset, byteLength }: Int8Array | Uint8Array, byte: number): boolean => Buffer.from(buffer, byteOffset, byteLength).includes(byte & 0xff);
