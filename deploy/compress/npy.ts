import { arrayTypes } from '../../runtime/engines/feeds.js';
import { RuntimeError } from '../../runtime/errors.js';
import type { Tensor } from '../../runtime/tensor.js';

/** NumPy's element types that a model's input can have. */
const npyTypes: Readonly<Record<string, { type: Tensor['type']; bytes: number }>> = {
  '<f4': { type: 'float32', bytes: 4 },
  '<f2': { type: 'float16', bytes: 2 },
  '<f8': { type: 'float64', bytes: 8 },
  '|u1': { type: 'uint8', bytes: 1 },
  '|b1': { type: 'bool', bytes: 1 },
  '|i1': { type: 'int8', bytes: 1 },
  '<i4': { type: 'int32', bytes: 4 },
  '<i8': { type: 'int64', bytes: 8 },
};

/**
 * Reads a NumPy .npy file, versions 1 to 3, C order (NumPy Enhancement Proposal 1: magic, version, length, Python literal, data).
 * @throws RuntimeError E_INPUT
 */
export function parseNpy(bytes: Uint8Array, name: string): Tensor {
  const refuse = (problem: string): never => {
    throw new RuntimeError('E_INPUT', `${name} is not a NumPy array that can be read: ${problem}`, { details: { file: name } });
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || view.getUint32(0) !== 0x934e554d || view.getUint16(4) !== 0x5059) return refuse('the magic number is missing');
  const wide = bytes[6] !== 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (start + length > bytes.length) return refuse('it is truncated');
  const header = new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? '';
  const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  const element = npyTypes[descr];
  if (element === undefined) return refuse(`expected one of ${Object.keys(npyTypes).join(', ')} for its type but received '${descr}'`);
  if (!/'fortran_order':\s*False/.test(header)) return refuse('expected C order but received Fortran order');
  if (shape === undefined) return refuse('its header has no shape');
  const dims = shape.split(',').map((dim) => dim.trim()).filter((dim) => dim !== '').map(Number);
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = new Uint8Array(bytes.subarray(start + length)); // a copy: the elements must be aligned, and a Buffer is a view of a pool
  if (data.length !== count * element.bytes) return refuse(`expected ${count * element.bytes} bytes for shape [${dims.join(', ')}] but received ${data.length}`);
  return { type: element.type, dims, data: new arrayTypes[element.type](data.buffer) };
}
