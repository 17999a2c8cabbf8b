import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../runtime/cache/key.js';
import { ModelProto, TensorProto } from '../../../runtime/onnx/schema.js';
import { readMessage as read } from '../../../runtime/onnx/wire-reader.js';
import { sharedFile } from '../../support/shared.js';

const readMessage = (name: string, bytes: Uint8Array, mostFields = 1e6) => read(name, bytes, mostFields);

/** As protobufjs's reflection reads it: numbers and texts that compare. */
const theirs = (type: typeof ModelProto, bytes: Uint8Array): unknown => JSON.parse(JSON.stringify(type.toObject(type.decode(bytes), { longs: String, bytes: String })));

/** What we read, in the same form. */
function ours(name: string, bytes: Uint8Array): unknown {
  const plain = (value: unknown): unknown => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
    if (Array.isArray(value)) return value.map(plain);
    if (typeof value !== 'object' || value === null) return value;
    if ('toNumber' in value && 'low' in value && 'high' in value) return ((BigInt(Number(value.high)) << 32n) | BigInt(Number(value.low) >>> 0)).toString();
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
  };
  return JSON.parse(JSON.stringify(plain(readMessage(name, bytes))));
}

/** In any order of fields; int64s are texts on one side and numbers on the other, and protobufjs drops fields that hold their default. */
function alike(value: unknown): string {
  const bare = JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item;
    return Object.fromEntries(Object.entries(item).filter(([, field]) => field !== 0 && field !== '0' && field !== ''));
  });
  return canonicalJson(JSON.parse(bare)).replace(/"(-?\d+)"/g, '$1');
}

const int64 = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 2 ** 40, -(2 ** 53) + 1));
const tensor = fc.record({
  dims: fc.array(int64, { minLength: 1, maxLength: 4 }), dataType: fc.integer(), floatData: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }),
  int64Data: fc.array(int64, { minLength: 1 }), name: fc.string({ unit: 'grapheme' }), rawData: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  doubleData: fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }),
}, { requiredKeys: [] });

const small = sharedFile('models', 'kws_ref_model_float32.onnx');
const missing = existsSync(small) ? undefined : `no ${small}`;

describe('the reader of messages', () => {
  it('reads what protobufjs writes', () => {
    fc.assert(fc.property(tensor, (message) => {
      const bytes = TensorProto.encode(TensorProto.fromObject(message)).finish();
      expect(alike(ours('TensorProto', bytes))).toBe(alike(theirs(TensorProto, bytes)));
    }));
  });

  it.skipIf(missing !== undefined)(`reads a real model as protobufjs does${missing === undefined ? '' : ` (${missing})`}`, () => {
    const bytes = readFileSync(small);
    expect(alike(ours('ModelProto', bytes)) === alike(theirs(ModelProto, bytes))).toBe(true);
  });

  it('takes repeated numbers packed and one by one', () => {
    expect(readMessage('TensorProto', Uint8Array.of(0x08, 3, 0x08, 4))).toEqual({ dims: [3, 4] });
    expect(readMessage('TensorProto', Uint8Array.of(0x0a, 2, 3, 4, 0x08, 5))).toEqual({ dims: [3, 4, 5] });
    expect(readMessage('TensorProto', Uint8Array.of(0x25, 0, 0, 0x80, 0x3f))).toEqual({ floatData: [1] });
  });

  it('reads numbers of 64 bits', () => {
    expect(readMessage('TensorProto', Uint8Array.of(0x08, ...new Array<number>(9).fill(0xff), 1))).toEqual({ dims: [-1] });
    expect(ours('TensorProto', Uint8Array.of(0x08, ...new Array<number>(9).fill(0x80), 1))).toEqual({ dims: ['-9223372036854775808'] });
  });

  it('skips what it does not know, groups too', () => {
    // Fields 100 to 103 of every wire type, then a group in a group.
    const unknown = [0xa0, 6, 0x96, 1, 0xa9, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0xb2, 6, 2, 9, 9, 0xbd, 6, 1, 2, 3, 4, 0xc3, 6, 0xcb, 6, 0x08, 1, 0xcc, 6, 0xc4, 6];
    expect(readMessage('TensorProto', Uint8Array.of(...unknown, 0x08, 7))).toEqual({ dims: [7] });
  });

  it.each<[string, number[]]>([
    ['a number that does not end', [0x08, 0xff]],
    ['a number of more than 64 bits', [0x08, ...new Array<number>(11).fill(0xff)]],
    ['field number 0', [0x00, 1]],
    ['a length beyond the end', [0x42, 5, 1]],
    ['a length of 2^35', [0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 1]],
    ['half a float', [0x25, 0, 0]],
    ['another wire type', [0x10 | 5, 1, 2, 3, 4]],
    ['a list of another wire type', [0x25 - 4, 1, 2, 3, 4, 5, 6, 7, 8]],
    ['the end of a group', [0x0c]],
    ['a group that ends another', [0xc3, 6, 0xcc, 6]],
    ['a group without an end', [0xc3, 6]],
    ['groups without end', new Array<number[]>(300).fill([0xc3, 6]).flat()],
    ['a text that is not UTF-8', [0x42, 2, 0xc3, 0x28]],
    ['an unknown wire type', [0x0f]],
  ])('refuses %s', (_, bytes) => {
    expect(() => readMessage('TensorProto', Uint8Array.from(bytes))).toThrow(Error);
  });

  it('counts what becomes an object, and 64 numbers of a packed list as one', () => {
    const floats = Uint8Array.of(0x22, 0x80, 2, ...new Array<number>(256).fill(0));
    expect(readMessage('TensorProto', floats, 1)).toEqual({ floatData: new Array<number>(64).fill(0) });
    expect(() => readMessage('TensorProto', Uint8Array.of(0x0a, 2, 3, 4), 1)).toThrow(expect.objectContaining({ code: 'E_MODEL_LIMIT' }));
  });

  it('gives a replacement character that the file has', () => {
    expect(readMessage('TensorProto', Uint8Array.of(0x42, 3, 0xef, 0xbf, 0xbd))).toEqual({ name: '\ufffd' });
  });
});
