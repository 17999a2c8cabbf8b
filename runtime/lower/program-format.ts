/** The wire format of a program: the tables that are generated from program.h (kernels/binding/tables.ts), by the compiler's names. */
import { attributeFields, dtypes, locations, maximumRank, recordBytes, type opCodes } from '../../kernels/binding/tables.js';

export {
  absent, attributeFields, binaryCodes, compareCodes, coordinateCodes, integerCodes, logicCodes, maximumRank, nearestCodes, opCodes, padCodes, poolCodes, programMagic,
  programVersion, recurrentCodes, reduceCodes, resizeCodes, softmaxCodes, unaryCodes,
} from '../../kernels/binding/tables.js';

export const wireDType = { float32: dtypes.F32, uint8: dtypes.U8, int8: dtypes.S8, int32: dtypes.S32 } as const;
export type WireDType = keyof typeof wireDType;
/** Bytes of an element. */
export const wireBytes = { float32: 4, uint8: 1, int8: 1, int32: 4 } as const satisfies Record<WireDType, number>;

export const location = { arena: locations.Arena, constant: locations.Const, strip: locations.Strip } as const;

export const headerBytes = recordBytes.ProgramHeader;
export const tensorBytes = recordBytes.TensorRecord;
export const opHeaderBytes = recordBytes.OpRecord;
export const sectionAlignment = 64;

export type OpCode = keyof typeof opCodes;

type FieldType = 'i32' | 'f32' | 'axes' | 'floats';

type FieldValue<T> = T extends 'axes' | 'floats' ? readonly number[] : number;

/** The attributes of an op, by field. */
export type AttributesOf<C extends OpCode> = { readonly [K in keyof (typeof attributeFields)[C]]: FieldValue<(typeof attributeFields)[C][K]> };

const fieldBytes = (type: FieldType): number => (type === 'axes' || type === 'floats' ? 4 * maximumRank : 4);

/** An op's attributes as the engine reads them. Axes beyond a tensor's rank are 0. */
export function encodeAttributes<C extends OpCode>(code: C, values: AttributesOf<C>): Uint8Array {
  const fields: readonly (readonly [string, FieldType])[] = Object.entries(attributeFields[code]);
  const given: ReadonlyMap<string, number | readonly number[]> = new Map(Object.entries(values));
  const bytes = new Uint8Array(fields.reduce((sum, [, type]) => sum + fieldBytes(type), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [name, type] of fields) {
    const value = given.get(name) ?? 0;
    const list = typeof value === 'number' ? [value] : value;
    for (let i = 0; i < fieldBytes(type) / 4; i++) {
      if (type === 'f32' || type === 'floats') view.setFloat32(at + 4 * i, list[i] ?? 0, true);
      else view.setInt32(at + 4 * i, list[i] ?? 0, true);
    }
    at += fieldBytes(type);
  }
  return bytes;
}
