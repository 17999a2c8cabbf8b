/** Moves bytes between uint8 and int8: the same number lies 128 steps away, which is the top bit. */
export function flipBytes(bytes: Uint8Array): Uint8Array {
  const flipped = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) flipped[i] = (bytes[i] ?? 0) ^ 0x80;
  return flipped;
}
