/**
 * Reads protobuf messages (https://protobuf.dev/programming-guides/encoding) by the tables of messages.ts. The bytes are untrusted: every
 * length is checked, nesting is bounded, and whatever does not fit is an Error that says where.
 */
import { messages, type WireField, type WireInt64 } from './messages.js';

/** Messages within messages; ONNX needs 4 a subgraph. */
const maximumDepth = 100;

const wire = { varint: 0, fixed64: 1, bytes: 2, groupStart: 3, groupEnd: 4, fixed32: 5 } as const;

const scalarTypes: Readonly<Record<string, number>> = {
  int32: wire.varint, int64: wire.varint, float: wire.fixed32, double: wire.fixed64, string: wire.bytes, bytes: wire.bytes,
};

interface NamedField extends WireField {
  readonly name: string;
  readonly wireType: number;
}

/** Fields by message, then by number. */
const tables = new Map(Object.entries(messages).map(([message, { fields }]): [string, (NamedField | undefined)[]] => {
  const table: (NamedField | undefined)[] = [];
  for (const [name, field] of Object.entries(fields)) table[field.id] = { ...field, name, wireType: scalarTypes[field.type] ?? wire.bytes };
  return [message, table];
}));

type Message = Record<string, unknown>;

class WireReader {
  private at = 0;
  private readonly view: DataView;
  private readonly text: Buffer;
  // Halves of the last varint.
  private low = 0;
  private high = 0;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private fail(problem: string): Error {
    return new Error(`${problem} at byte ${this.at}`);
  }

  /** Up to `end` must be a message of this name. */
  message(name: string, end: number, depth: number): Message {
    if (depth > maximumDepth) throw this.fail(`messages nest deeper than ${maximumDepth}`);
    const table = tables.get(name) ?? [];
    const message: Message = {};
    while (this.at < end) {
      this.varint(end);
      const [id, type] = [this.low >>> 3, this.low & 7];
      if (id === 0 || this.high !== 0) throw this.fail('not a field');
      const field = table[id];
      if (field === undefined) this.skip(id, type, end, depth);
      else this.field(message, field, type, end, depth);
    }
    return message;
  }

  private field(message: Message, field: NamedField, type: number, end: number, depth: number): void {
    const { name, wireType } = field;
    if (field.rule !== 'repeated') {
      if (type !== wireType) throw this.fail(`field ${name} of wire type ${type}`);
      message[name] = this.value(field, end, depth);
      return;
    }
    const list = (message[name] ??= []) as unknown[];
    if (type === wireType) list.push(this.value(field, end, depth));
    else if (type === wire.bytes) {
      const packedEnd = this.lengthEnd(end);
      while (this.at < packedEnd) list.push(this.value(field, packedEnd, depth));
    } else throw this.fail(`field ${name} of wire type ${type}`);
  }

  private value({ type }: NamedField, end: number, depth: number): unknown {
    switch (type) {
      case 'int32': this.varint(end); return this.low;
      case 'int64': this.varint(end); return this.int64();
      case 'float': return this.view.getFloat32(this.advance(4, end), true);
      case 'double': return this.view.getFloat64(this.advance(8, end), true);
      default: break;
    }
    const valueEnd = this.lengthEnd(end);
    if (type === 'string') return this.string(valueEnd);
    if (type === 'bytes') return this.bytes.subarray(this.advance(valueEnd - this.at, end), valueEnd);
    return this.message(type, valueEnd, depth + 1);
  }

  /** Moves on by `bytes`, and returns from where. */
  private advance(bytes: number, end: number): number {
    if (bytes > end - this.at) throw this.fail(`expected ${bytes} bytes, ${end - this.at} are left`);
    const from = this.at;
    this.at += bytes;
    return from;
  }

  /** Reads a length; the end of what has that length. */
  private lengthEnd(end: number): number {
    this.varint(end);
    const bytes = this.low >>> 0;
    if (this.high !== 0 || bytes > end - this.at) throw this.fail(`a length of ${bytes} bytes, ${end - this.at} are left`);
    return this.at + bytes;
  }

  /** Into `low` and `high`. Seven bits a byte, the lowest first; of the tenth byte one bit is left. */
  private varint(end: number): void {
    this.low = 0;
    this.high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.bytes[this.advance(1, end)] ?? 0;
      const bits = byte & 0x7f;
      if (shift < 28) this.low |= bits << shift;
      else if (shift === 28) {
        this.low |= bits << 28;
        this.high = bits >>> 4;
      } else this.high |= bits << (shift - 32);
      if (byte < 0x80) return;
    }
    throw this.fail('a number of more than 64 bits');
  }

  private int64(): WireInt64 {
    const [low, high] = [this.low, this.high];
    const value = high * 2 ** 32 + (low >>> 0);
    return Number.isSafeInteger(value) ? value : { low, high, toNumber: () => value };
  }

  /** UTF-8; names are compared, so two different ones must not become the same. */
  private string(end: number): string {
    const from = this.advance(end - this.at, end);
    const text = this.text.toString('utf8', from, end);
    if (text.includes('\ufffd') && !Buffer.from(text).equals(this.text.subarray(from, end))) throw this.fail('a text that is not UTF-8');
    return text;
  }

  /** A field that we do not know. */
  private skip(id: number, type: number, end: number, depth: number): void {
    if (depth > maximumDepth) throw this.fail(`groups nest deeper than ${maximumDepth}`);
    switch (type) {
      case wire.varint: this.varint(end); return;
      case wire.fixed64: this.advance(8, end); return;
      case wire.fixed32: this.advance(4, end); return;
      case wire.bytes: this.at = this.lengthEnd(end); return;
      case wire.groupStart: this.skipGroup(id, end, depth); return;
      default: throw this.fail(`wire type ${type}`);
    }
  }

  private skipGroup(group: number, end: number, depth: number): void {
    for (;;) {
      this.varint(end);
      const [id, type] = [this.low >>> 3, this.low & 7];
      if (type !== wire.groupEnd) this.skip(id, type, end, depth + 1);
      else if (id === group) return;
      else throw this.fail('a group that ends another');
    }
  }
}

/** A message of this name, fields by name. @throws Error: the bytes are not one */
export const readMessage = (name: string, bytes: Uint8Array): Message => new WireReader(bytes).message(name, bytes.length, 0);
