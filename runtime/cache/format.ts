/**
 * A cached program as a file, little-endian:
 *
 *   0   magic "STRNPROG"
 *   8   u32 format version, u32 bytes of the description
 *   16  key, 32 bytes
 *   48  u64 bytes of the program, u64 checksum of the program
 *   64  u64 checksum of the first 64 bytes and the description
 *   72  description: JSON in UTF-8
 *   ... program, from the next multiple of 64 on, to the end of the file
 *
 * Checksums are XXH64. Pure: files are the business of store.ts.
 */
import { checksumOf } from '../../kernels/binding/index.js';
import type { CompiledModel } from '../lower/compile-message.js';

/** What a session needs to know of a program besides its bytes. */
export type ProgramDescription = Pick<CompiledModel, 'inputs' | 'outputs' | 'split' | 'opNames' | 'regions' | 'open'>;

const magic = Buffer.from('STRNPROG', 'latin1');
const version = 1;
const checkedBytes = 64;
/** Bytes before the description. */
export const headBytes = 72;
const alignment = 64;
/** Far beyond what a program of 2^18 ops needs: a damaged length must not make us allocate. */
const maximumDescriptionBytes = 256 * 1024 * 1024;

/** Where things are in a file. */
export interface CacheLayout {
  readonly descriptionBytes: number;
  readonly programOffset: number;
  readonly programBytes: number;
  /** Of the program. */
  readonly checksum: bigint;
}

const align = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** Everything before the program. `key`: 64 hexadecimal digits. */
export function encodeHead(key: string, description: ProgramDescription, program: Uint8Array): Uint8Array {
  const json = Buffer.from(JSON.stringify(description));
  const head = Buffer.alloc(align(headBytes + json.length));
  magic.copy(head);
  head.writeUInt32LE(version, 8);
  head.writeUInt32LE(json.length, 12);
  Buffer.from(key, 'hex').copy(head, 16);
  head.writeBigUInt64LE(BigInt(program.length), 48);
  head.writeBigUInt64LE(checksumOf(program), 56);
  json.copy(head, headBytes);
  head.writeBigUInt64LE(checkedSum(head, json.length), checkedBytes);
  return head;
}

function checkedSum(head: Buffer, descriptionBytes: number): bigint {
  return checksumOf(Buffer.concat([head.subarray(0, checkedBytes), head.subarray(headBytes, headBytes + descriptionBytes)]));
}

/** Where things are, from the first `headBytes` of a file of `fileBytes`; a text says what is wrong. */
export function readLayout(head: Buffer, key: string, fileBytes: number): CacheLayout | string {
  if (head.length < headBytes) return `it has ${fileBytes} bytes, less than a header`;
  if (!head.subarray(0, magic.length).equals(magic)) return 'it is not a cached program';
  if (head.readUInt32LE(8) !== version) return `its format is ${head.readUInt32LE(8)}, expected ${version}`;
  if (head.toString('hex', 16, 48) !== key) return 'it belongs to another key';
  const descriptionBytes = head.readUInt32LE(12);
  const programOffset = align(headBytes + descriptionBytes);
  const programBytes = Number(head.readBigUInt64LE(48));
  if (descriptionBytes > maximumDescriptionBytes || programOffset + programBytes !== fileBytes) return `it has ${fileBytes} bytes, expected ${programOffset + programBytes}`;
  return { descriptionBytes, programOffset, programBytes, checksum: head.readBigUInt64LE(56) };
}

/** The description, from everything before the program; a text says what is wrong. */
export function readDescription(head: Buffer, { descriptionBytes }: CacheLayout): ProgramDescription | string {
  if (checkedSum(head, descriptionBytes) !== head.readBigUInt64LE(checkedBytes)) return 'its description does not have its checksum';
  try {
    return JSON.parse(head.toString('utf8', headBytes, headBytes + descriptionBytes)) as ProgramDescription;
  } catch {
    return 'its description is not JSON';
  }
}
