import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  attributeFields, binaryCodes, compareCodes, coordinateCodes, encodeAttributes, integerCodes, logicCodes, maximumRank, nearestCodes, opCodes, padCodes, poolCodes, programMagic,
  programVersion, recurrentCodes, reduceCodes, resizeCodes, softmaxCodes, unaryCodes, wireDType,
} from '../../../runtime/lower/program-format.js';

const header = readFileSync(new URL('../../../kernels/include/sterna/program.h', import.meta.url), 'utf8').replace(/\/\*.*?\*\//g, '').replace(/\/\/.*$/gm, '');

/** Members of a struct of program.h as [name, type], nested structs spread out. */
function membersOf(name: string): [string, string][] {
  const body = new RegExp(`struct ${name} \\{(.*?)\\n\\};`, 's').exec(header)?.[1];
  if (body === undefined) throw new Error(`program.h has no struct ${name}`);
  return body.split(';').flatMap((line) => {
    const [type, ...rest] = line.trim().split(/\s+/);
    if (type === undefined || rest.length === 0) return [];
    if (type.endsWith('Geometry')) return membersOf(type);
    return rest.join('').split(',').map((member): [string, string] => {
      const [, base = '', array] = /^(\w+)(\[.*)?$/.exec(member) ?? [];
      const float = type === 'float';
      return [base, array === undefined ? (float ? 'f32' : 'i32') : float ? 'floats' : 'axes'];
    });
  });
}

/** Enumerators of program.h as {name: value}, names without the k. */
function enumeratorsOf(name: string): Record<string, number> {
  const body = new RegExp(`enum class ${name}[^{]*\\{(.*?)\\};`, 's').exec(header)?.[1] ?? '';
  return Object.fromEntries([...body.matchAll(/k(\w+) = (\d+)/g)].map(([, key = '', value]) => [key, Number(value)]));
}

const structs: Readonly<Record<string, string>> = {
  ConvQ8: 'ConvQ8Attrs', Threshold: 'ThresholdAttrs', ConvQ8F32: 'ConvQ8F32Attrs', BinaryQ8: 'BinaryQ8Attrs', PoolQ8: 'PoolAttrs', PoolF32: 'PoolAttrs', ResizeQ8: 'ResizeAttrs', ResizeF32: 'ResizeAttrs', Quantize: 'QuantizeAttrs',
  Dequantize: 'QuantizeAttrs', ConvF32: 'ConvF32Attrs', MatMulF32: 'MatMulAttrs', BinaryF32: 'BinaryF32Attrs', UnaryF32: 'UnaryAttrs', ReduceF32: 'ReduceAttrs', SoftmaxF32: 'SoftmaxAttrs', NormalizeF32: 'NormalizeAttrs', AttentionF32: 'AttentionAttrs',
  Copy: 'CopyAttrs', Transpose: 'TransposeAttrs', Pad: 'PadAttrs', Gather: 'GatherAttrs', RecurrentF32: 'RecurrentAttrs', ResampleF32: 'ResampleAttrs',
  Cast: 'CastAttrs', Compare: 'CompareAttrs', Logic: 'LogicAttrs', BinaryS32: 'BinaryS32Attrs', ReduceS32: 'ReduceS32Attrs', GatherElements: 'GatherAttrs', GatherNd: 'GatherNdAttrs',
  ArgReduce: 'ArgReduceAttrs', TopK: 'TopKAttrs', NonMaxSuppression: 'NonMaxSuppressionAttrs', CumSum: 'CumSumAttrs',
};

describe('the wire format agrees with program.h', () => {
  it.each(Object.entries(structs))('attributes of %s', (op, struct) => {
    const fields: Record<string, string> = Object.entries(attributeFields).find(([name]) => name === op)?.[1] ?? {};
    expect(Object.entries(fields)).toEqual(membersOf(struct));
  });

  it('opcodes', () => {
    expect({ ...opCodes }).toEqual(enumeratorsOf('OpCode'));
  });

  it('functions', () => {
    const camel = (codes: Readonly<Record<string, number>>) => Object.fromEntries(Object.entries(codes).map(([name, value]) => [name.split('_').map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join(''), value]));
    expect(camel(unaryCodes)).toEqual(enumeratorsOf('UnaryKind'));
    expect(camel(integerCodes)).toEqual(enumeratorsOf('IntegerKind'));
    for (const [name, codes] of Object.entries({
      PoolKind: poolCodes, ReduceKind: reduceCodes, SoftmaxMode: softmaxCodes, PadMode: padCodes, CompareKind: compareCodes, LogicKind: logicCodes,
      RecurrentKind: recurrentCodes, ResizeMode: resizeCodes, ResizeCoordinates: coordinateCodes, NearestMode: nearestCodes,
    })) expect(camel(codes), name).toEqual(enumeratorsOf(name));
    expect({ ...camel(binaryCodes), PRelu: binaryCodes.prelu, Prelu: undefined }).toEqual({ ...enumeratorsOf('BinaryKind'), Prelu: undefined });
  });

  it('types, magic number, version and rank', () => {
    expect({ F32: wireDType.float32, U8: wireDType.uint8, S8: wireDType.int8, S32: wireDType.int32 }).toEqual(enumeratorsOf('DType'));
    const constant = (name: string) => Number(new RegExp(`${name} = (\\w+);`).exec(header)?.[1]);
    expect([programMagic, programVersion, maximumRank]).toEqual([constant('kProgramMagic'), constant('kProgramVersion'), constant('kMaxRank')]);
  });
});

describe('attributes', () => {
  it('are little-endian, in order, axes filled up with 0', () => {
    expect([...encodeAttributes('Quantize', { scale: 0.5, zp: -2 })]).toEqual([0, 0, 0, 0x3f, 0xfe, 0xff, 0xff, 0xff]);
    expect(encodeAttributes('Transpose', { perm: [1, 0] })).toHaveLength(4 * maximumRank);
    expect(encodeAttributes('Transpose', { perm: [1, 0] })[0]).toBe(1);
  });
});
