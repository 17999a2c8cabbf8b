// What TypeScript has to know of the native core, read from the sources that the core is built from: the instruction sets of isa/isa.cmake, and
// the wire format of include/sterna/program.h. `npm run reference` writes it to kernels/binding/tables.ts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../setup.mjs';

const source = (path) => readFileSync(join(root, 'kernels', path), 'utf8');
const activations = { u8: 'uint8', s8: 'int8' };
const withoutComments = (text) => text.replace(/\/\/.*$/gm, '');
/** kLeakyRelu is leaky_relu. */
const snake = (name) => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

/** Rows of isa.cmake, slowest first: [name, type of 8-bit activations]. */
function isaRows(text) {
  return [...text.matchAll(/^sterna_isa\((\w+) ARCH \w+ ACTIVATION (u8|s8)/gm)].map(([, name, activation]) => [name, activations[activation]]);
}

/** A constant of program.h; a product of numbers is multiplied out. */
function constantOf(text, name) {
  const value = new RegExp(`constexpr \\w+ ${name} = ([\\w *]+);`).exec(text)?.[1];
  if (value === undefined) throw new Error(`program.h has no constant ${name}`);
  return value.split('*').reduce((product, factor) => product * Number(factor.trim().replace(/u$/, '')), 1);
}

/** Enumerators of program.h, without the k. */
function enumeratorsOf(text, name) {
  const body = new RegExp(`enum class ${name}[^{]*\\{(.*?)\\};`, 's').exec(text)?.[1];
  if (body === undefined) throw new Error(`program.h has no enum ${name}`);
  return [...withoutComments(body).matchAll(/k(\w+) = (\d+)/g)].map(([, key, value]) => [key, Number(value)]);
}

/** Members of a struct as [name, kind of field], nested structs spread out. */
function membersOf(text, name) {
  const body = new RegExp(`struct ${name} \\{[^\\n]*\\n?(.*?)\\n\\};`, 's').exec(text)?.[1];
  if (body === undefined) throw new Error(`program.h has no struct ${name}`);
  return withoutComments(body).split(';').flatMap((line) => {
    const [type, ...rest] = line.trim().split(/\s+/);
    if (rest.length === 0) return [];
    if (type.endsWith('Geometry')) return membersOf(text, type);
    return rest.join('').split(',').map((member) => {
      const [, field, array] = /^(\w+)(\[.*)?$/.exec(member);
      return [field, type === 'float' ? (array ? 'floats' : 'f32') : array ? 'axes' : 'i32'];
    });
  });
}

/** Each op and the struct of its attributes, which its comment names last. */
function attributesOf(text) {
  const body = /enum class OpCode[^{]*\{(.*?)\n\};/s.exec(text)?.[1] ?? '';
  return [...body.matchAll(/^ *k(\w+) = \d+, *\/\/.*?(\w+Attrs|\(no attributes\))$/gm)].map(([, op, struct]) => [op, struct.startsWith('(') ? [] : membersOf(text, struct)]);
}

/** Bytes of the records, as the header's static_assert states them. */
const recordBytes = (text) => [...text.matchAll(/sizeof\((\w+)\) == (\d+)/g)].map(([, name, bytes]) => [name, Number(bytes)]);

/** Kinds and modes that attributes hold, by the names of the compiler's operators. */
const kinds = [
  ['PoolKind', 'poolCodes'], ['ReduceKind', 'reduceCodes'], ['SoftmaxMode', 'softmaxCodes'], ['PadMode', 'padCodes'], ['CompareKind', 'compareCodes'],
  ['LogicKind', 'logicCodes'], ['RecurrentKind', 'recurrentCodes'], ['ResizeMode', 'resizeCodes'], ['ResizeCoordinates', 'coordinateCodes'], ['NearestMode', 'nearestCodes'],
];

const literal = (value) => (typeof value === 'string' ? `'${value}'` : String(value));
const record = (entries) => `{\n${entries.map(([key, value]) => `  ${key}: ${literal(value)},\n`).join('')}} as const`;
const constant = (comment, name, value) => `/** ${comment} */\nexport const ${name} = ${value};\n`;

export function engineTables(isas = source('isa/isa.cmake'), header = source('include/sterna/program.h')) {
  const rows = isaRows(isas), attributes = attributesOf(header), ops = enumeratorsOf(header, 'OpCode');
  const silent = ops.filter(([op]) => !attributes.some(([name]) => name === op));
  if (silent.length > 0) throw new Error(`program.h: the comment of k${silent[0][0]} does not end with its attributes`);
  const functions = (name) => record(enumeratorsOf(header, name).map(([key, value]) => [snake(key), value]));
  const fields = attributes.map(([op, members]) => `  ${op}: {${members.map(([name, kind]) => ` ${name}: '${kind}'`).join(',')} },\n`.replace('{ }', '{}'));
  return [
    '// Written by `npm run reference` from kernels/isa/isa.cmake and kernels/include/sterna/program.h; edit those, not this file.\n',
    constant('Instruction-set variants of the kernels, slowest first. `ref` is the portable executable specification.', 'isas', `[${rows.map(([name]) => `'${name}'`).join(', ')}] as const`),
    constant("Type of 8-bit activations that an instruction set's kernels take; `ref` has kernels for both.", 'isaActivations', record(rows)),
    constant('ProgramHeader::magic, "STRN".', 'programMagic', `0x${constantOf(header, 'kProgramMagic').toString(16)}`),
    constant('ProgramHeader::version.', 'programVersion', constantOf(header, 'kProgramVersion')),
    constant('Axes of a tensor at most.', 'maximumRank', constantOf(header, 'kMaxRank')),
    constant('The id of an optional input that is not there.', 'absent', `0x${constantOf(header, 'kAbsent').toString(16)}`),
    constant('Rows of a kernel that the engine takes for a depthwise convolution, at most.', 'maxDepthwiseRows', constantOf(header, 'kMaxDepthwiseRows')),
    constant('Bytes of the records.', 'recordBytes', record(recordBytes(header))),
    constant('DType.', 'dtypes', record(enumeratorsOf(header, 'DType'))),
    constant('Location.', 'locations', record(enumeratorsOf(header, 'Location'))),
    constant('OpCode.', 'opCodes', record(ops)),
    constant('UnaryKind, by the names of runtime/ops/unary-functions.ts.', 'unaryCodes', functions('UnaryKind')),
    constant('BinaryKind.', 'binaryCodes', functions('BinaryKind')),
    constant('IntegerKind.', 'integerCodes', functions('IntegerKind')),
    ...kinds.map(([name, constantName]) => constant(`${name}.`, constantName, functions(name))),
    constant('Attributes of each op in order. `axes` is one i32 for each of maximumRank axes, `floats` as many f32.', 'attributeFields', `{\n${fields.join('')}} as const`),
  ].join('\n');
}
