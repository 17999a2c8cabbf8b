/** Moves bytes between uint8 and int8: the same number lies 128 steps away, which is the top bit. */
export function flipInPlace(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) ^ 0x80;
}

/** A copy with every byte moved. */
export function flipBytes(bytes: Uint8Array): Uint8Array {
  const flipped = bytes.slice();
  flipInPlace(flipped);
  return flipped;
}
