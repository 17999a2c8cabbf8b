import { RuntimeError } from '../errors.js';
import type { WireAttribute, WireGraph, WireModel, WireNode, WireTensor } from './messages.js';
import { defaultLimits } from './types.js';

/** Where a tensor's elements are: a part of a file beside the model. */
export interface ExternalPart {
  /** Of the tensor, for messages. */
  readonly tensor: string;
  /** A path below the model's folder, as the file states it. */
  readonly location: string;
  readonly offset: number;
  /** Undefined: up to the end of the file. */
  readonly length: number | undefined;
}

/** The key without which no tensor is in another file. */
const mark = Buffer.from('location');

const tensorsOfNode = ({ attribute = [] }: WireNode): WireTensor[] => attribute.flatMap(tensorsOfAttribute);
const tensorsOfAttribute = ({ t, g }: WireAttribute): WireTensor[] => [...(t ? [t] : []), ...(g ? tensorsOf(g) : [])];
const tensorsOf = ({ initializer = [], node = [] }: WireGraph): WireTensor[] => [...initializer, ...node.flatMap(tensorsOfNode)];

const isExternal = ({ dataLocation, externalData = [] }: WireTensor): boolean => dataLocation === 1 || externalData.length > 0;

function partOf({ name = '', externalData = [] }: WireTensor): ExternalPart {
  const entries = new Map(externalData.map(({ key = '', value = '' }) => [key, value]));
  const malformed = (what: string): RuntimeError => new RuntimeError('E_MODEL_MALFORMED', `Tensor '${name}', whose data are in another file: ${what}`, { details: { initializer: name } });
  const size = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!Number.isSafeInteger(value)) throw malformed(`expected a number of bytes for its ${key} but received '${text}'`);
    return value;
  };
  const location = entries.get('location');
  if (location === undefined || location === '') throw malformed('expected the location of a file but received none');
  return { tensor: name, location, offset: size('offset') ?? 0, length: size('length') };
}

/**
 * A model with the data that its tensors keep in other files inside; the same bytes when there are none.
 * @param read gives the bytes of a part; what all parts have together is its business
 * @throws RuntimeError E_MODEL_MALFORMED, E_MODEL_LIMIT, and what `read` throws
 */
export async function inlineExternalData(bytes: Uint8Array, fileBytes: number, read: (part: ExternalPart) => Promise<Uint8Array>): Promise<Uint8Array> {
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(mark)) return bytes;
  // Only here, for they take longer to load than most models do.
  const [{ decodeModel }, { ModelProto }] = await Promise.all([import('./parse.js'), import('./schema.js')]);
  const model: WireModel = decodeModel(bytes, { ...defaultLimits, fileBytes });
  const functions = (model.functions ?? []).flatMap(({ node = [] }) => node.flatMap(tensorsOfNode));
  const external = [...(model.graph ? tensorsOf(model.graph) : []), ...functions].filter(isExternal);
  if (external.length === 0) return bytes;
  for (const tensor of external) {
    tensor.rawData = await read(partOf(tensor));
    delete tensor.externalData;
    delete tensor.dataLocation;
  }
  return ModelProto.encode(model).finish();
}
