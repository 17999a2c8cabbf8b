/**
 * Reads messages by the tables of messages.ts. protobufjs's minimal Reader decodes the wire format; its reflection (light.js) would load and
 * generate code for longer than a model takes to read. The bytes are untrusted: nesting and the number of fields are bounded.
 */
import protobuf from 'protobufjs/minimal.js';
import { RuntimeError } from '../errors.js';
import { messages, type WireField, type WireInt64 } from './messages.js';

/** Messages within messages; ONNX needs 4 a subgraph. */
const maximumDepth = 100;

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const scalarTypes: Readonly<Record<string, number>> = {
  int32: wire.varint, int64: wire.varint, float: wire.fixed32, double: wire.fixed64, string: wire.bytes, bytes: wire.bytes,
};

/** An element of a packed list of other types is a number in an array, for which 64 cost as much as one object. */
const packedCost: Readonly<Record<string, number>> = { int64: 1 };
const cheapPackedCost = 1 / 64;

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

class MessageReader {
  readonly #reader: protobuf.Reader;
  readonly #bytes: Uint8Array;
  #fieldsLeft: number;

  constructor(bytes: Uint8Array, mostFields: number) {
    this.#reader = protobuf.Reader.create(bytes);
    this.#bytes = bytes;
    this.#fieldsLeft = mostFields;
  }

  /** Up to `end` must be a message of this name. */
  message(name: string, end: number, depth: number): Message {
    if (depth > maximumDepth) throw this.#fail(`messages nest deeper than ${maximumDepth}`);
    const table = tables.get(name) ?? [];
    const message: Message = {};
    while (this.#reader.pos < end) {
      const tag = this.#reader.tag();
      const [id, type] = [tag >>> 3, tag & 7];
      if (id === 0) throw this.#fail('not a field');
      const field = table[id];
      if (field === undefined) this.#reader.skipType(type, 0, id);
      else this.#field(message, field, type, depth);
    }
    if (this.#reader.pos > end) throw this.#fail('a field is longer than its message');
    return message;
  }

  #field(message: Message, field: NamedField, type: number, depth: number): void {
    const { name, wireType } = field;
    if (field.rule !== 'repeated') {
      if (type !== wireType) throw this.#fail(`field ${name} of wire type ${type}`);
      message[name] = this.#value(field, depth, 1);
      return;
    }
    const list = (message[name] ??= []) as unknown[];
    if (type === wireType) list.push(this.#value(field, depth, 1));
    else if (type === wire.bytes) {
      const end = this.#lengthEnd();
      const cost = packedCost[field.type] ?? cheapPackedCost;
      while (this.#reader.pos < end) list.push(this.#value(field, depth, cost));
      if (this.#reader.pos > end) throw this.#fail('a list is longer than it says');
    } else throw this.#fail(`field ${name} of wire type ${type}`);
  }

  #value({ type }: NamedField, depth: number, cost: number): unknown {
    this.#fieldsLeft -= cost;
    if (this.#fieldsLeft < 0) throw new RuntimeError('E_MODEL_LIMIT', 'Expected fewer fields in the model: two bytes of a file can become a hundred of memory');
    switch (type) {
      case 'int32': return this.#reader.int32();
      case 'int64': return int64(this.#reader.int64());
      case 'float': return this.#reader.float();
      case 'double': return this.#reader.double();
      case 'string': return this.#string();
      case 'bytes': return this.#span();
      default: return this.message(type, this.#lengthEnd(), depth + 1);
    }
  }

  /** Reads a length; the end of what has that length. */
  #lengthEnd(): number {
    const end = this.#reader.size() + this.#reader.pos;
    if (end > this.#bytes.length) throw this.#fail('a length beyond the end');
    return end;
  }

  /** A view of the file. */
  #span(): Uint8Array {
    const end = this.#lengthEnd();
    const view = this.#bytes.subarray(this.#reader.pos, end);
    this.#reader.pos = end;
    return view;
  }

  /** UTF-8; names are compared, so two different ones must not become the same. */
  #string(): string {
    const bytes = this.#span();
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
    if (text.includes('\ufffd') && !Buffer.from(text).equals(bytes)) throw this.#fail('a text that is not UTF-8');
    return text;
  }

  #fail(problem: string): Error {
    return new Error(`${problem} at byte ${this.#reader.pos}`);
  }
}

/** protobufjs gives halves where the package `long` is installed, as its own dependency is. */
function int64(value: number | { low: number; high: number }): WireInt64 {
  if (typeof value === 'number') return value;
  const { low, high } = value;
  const number = high * 2 ** 32 + (low >>> 0);
  return Number.isSafeInteger(number) ? number : { low, high, toNumber: () => number };
}

/**
 * A message of this name, fields by name.
 * @throws RuntimeError E_MODEL_LIMIT: more than `mostFields` values; any other error: the bytes are not such a message
 */
export const readMessage = (name: string, bytes: Uint8Array, mostFields: number): Message => new MessageReader(bytes, mostFields).message(name, bytes.length, 0);
