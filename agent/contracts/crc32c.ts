/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4), slicing by 4.
 * Node's zlib has only the IEEE polynomial. About 1 GB/s is not needed: a block is 64 KiB.
 */
const TABLES = buildTables();

function buildTables(): readonly [Uint32Array, Uint32Array, Uint32Array, Uint32Array] {
  const tables = [new Uint32Array(256), new Uint32Array(256), new Uint32Array(256), new Uint32Array(256)] as const;
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78);
    tables[0][byte] = crc;
  }
  for (let slice = 1; slice < 4; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = at(tables[slice - 1], byte);
      const table = tables[slice];
      if (table !== undefined) table[byte] = (previous >>> 8) ^ at(tables[0], previous & 0xff);
    }
  }
  return tables;
}

function at(table: Uint32Array | undefined, index: number): number {
  return table?.[index] ?? 0;
}

/** Continue a checksum over more bytes; start with 0. The result is an unsigned 32-bit integer. */
export function crc32c(data: Uint8Array, seed = 0): number {
  const [t0, t1, t2, t3] = TABLES;
  let crc = ~seed;
  let i = 0;
  for (const end = data.length - 3; i < end; i += 4) {
    crc ^= (data[i] ?? 0) | ((data[i + 1] ?? 0) << 8) | ((data[i + 2] ?? 0) << 16) | ((data[i + 3] ?? 0) << 24);
    crc = (t3[crc & 0xff] ?? 0) ^ (t2[(crc >>> 8) & 0xff] ?? 0) ^ (t1[(crc >>> 16) & 0xff] ?? 0) ^ (t0[crc >>> 24] ?? 0);
  }
  for (; i < data.length; i++) crc = (crc >>> 8) ^ (t0[(crc ^ (data[i] ?? 0)) & 0xff] ?? 0);
  return ~crc >>> 0;
}
