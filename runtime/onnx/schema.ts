/** The messages as protobufjs has them, with its reflection: for writing. Reading is wire-reader.ts, which loads in a fraction of the time. */
import protobuf from 'protobufjs/light.js';
import { messages } from './messages.js';

export * from './messages.js';

const root = protobuf.Root.fromJSON({ nested: structuredClone(messages) });

export const ModelProto = root.lookupType('ModelProto');
export const TensorProto = root.lookupType('TensorProto');
export const SequenceProto = root.lookupType('SequenceProto');
export const OptionalProto = root.lookupType('OptionalProto');
