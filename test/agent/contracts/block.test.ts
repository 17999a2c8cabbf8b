import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BLOCK_HEADER_BYTES, blockCount, ContractError, crc32c, decodeBlock, encodeBitmap, encodeBlock, MAX_BLOCK_BYTES, requestedBlocks, type OtaGet,
} from '../../../agent/contracts/index.js';

describe('crc32c', () => {
  it('matches the vectors of RFC 3720 appendix B.4', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('continues over pieces', () => {
    fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      expect(crc32c(b, crc32c(a))).toBe(crc32c(Buffer.concat([a, b])));
    }));
  });
});

describe('blocks', () => {
  it('decode to what was encoded, wherever the view starts', () => {
    fc.assert(fc.property(fc.nat(0xffff_ffff), fc.boolean(), fc.uint8Array({ maxLength: 300 }), fc.nat(7), (index, last, payload, shift) => {
      const message = Buffer.concat([Buffer.alloc(shift), encodeBlock({ index, last, payload })]).subarray(shift);
      const block = decodeBlock(message);
      expect({ ...block, payload: [...block.payload] }).toEqual({ index, last, unavailable: false, busy: false, deflated: false, payload: [...payload] });
    }));
  });

  it('find every flipped bit', () => {
    const message = encodeBlock({ index: 7, last: true, payload: Uint8Array.from({ length: 40 }, (_, i) => i) });
    for (let bit = 0; bit < message.length * 8; bit++) {
      // Bytes 6 and 7 are reserved, but covered by the checksum all the same.
      const damaged = Buffer.from(message);
      damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(() => decodeBlock(damaged), `bit ${bit}`).toThrow(ContractError);
    }
  });

  it('throw only our errors for hostile bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (message) => {
      try {
        decodeBlock(message);
      } catch (error) {
        expect(error).toMatchObject({ code: 'E_BLOCK' });
      }
    }));
  });

  it('refuse more than 64 KiB in both directions', () => {
    expect(() => encodeBlock({ index: 0, last: true, payload: new Uint8Array(MAX_BLOCK_BYTES + 1) })).toThrow(expect.objectContaining({ code: 'E_BLOCK' }));
    expect(() => decodeBlock(new Uint8Array(BLOCK_HEADER_BYTES + MAX_BLOCK_BYTES + 1))).toThrow(expect.objectContaining({ code: 'E_BLOCK' }));
    expect(decodeBlock(encodeBlock({ index: 0, last: true, payload: new Uint8Array(MAX_BLOCK_BYTES) })).payload.length).toBe(MAX_BLOCK_BYTES);
  });

  it('say that a package is not available', () => {
    expect(decodeBlock(encodeBlock({ index: 0, last: true, payload: new Uint8Array(0), unavailable: true })).unavailable).toBe(true);
  });

  it('are counted', () => {
    expect([0, 1, 256, 257].map((size) => blockCount(size, 256))).toEqual([0, 1, 1, 2]);
  });
});

describe('bitmaps of wanted blocks', () => {
  const request = (first: number, wanted: number[], window: number): OtaGet => ({
    schema_version: 2, digest: '0'.repeat(64), size_bytes: 1, block_bytes: 256, first_block: first, bitmap: encodeBitmap(first, wanted), window,
  });

  it('name the same blocks at the other end', () => {
    fc.assert(fc.property(fc.nat(1000), fc.uniqueArray(fc.nat(511)), (first, offsets) => {
      const wanted = offsets.map((offset) => first + offset).sort((a, b) => a - b);
      expect(requestedBlocks(request(first, wanted, 16), 5000)).toEqual(wanted.slice(0, 16));
    }));
  });

  it('never lead beyond the end of the package', () => {
    expect(requestedBlocks(request(2, [2, 3, 4, 9], 16), 4)).toEqual([2, 3]);
    expect(requestedBlocks(request(2, [], 16), 4)).toEqual([]);
  });
});
