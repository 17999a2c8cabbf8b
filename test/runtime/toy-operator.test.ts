import { rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadProgram } from '../../kernels/binding/index.js';
import type { Graph, Node } from '../../runtime/graph/graph.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { answerOf, changedIn, copyWith, type Addition } from '../support/toys.js';
import { randomTensor } from './support/models.js';
import { nativeMissing } from './support/native.js';

// Adds two operators to a copy of runtime/, each in the files that runtime/README.md names, and holds the number of these files.

const record = (reference: string): string => `{
    infer: (context) => [inputType(context, 0)],
    evaluate(context) {
      const [x, y] = [inputValue(context, 0), context.inputs[1]];
      const other = y === undefined ? [] : toNumbers(y);
      return [fromNumbers('float32', x.dims, toNumbers(x).map((a, i) => ${reference}))];
    },
  },`;

/** |a - b|, which core operators express. */
const rewritten: readonly Addition[] = [
  { file: 'runtime/ops/linear.ts', anchor: 'export const linearOps: OpTable = {', text: `ToyDistance: ${record('Math.abs(a - (other[i] ?? 0))')}` },
  {
    file: 'runtime/optimize/canonical/linear.ts', anchor: 'export const canonicalLinear: Readonly<Record<string, Canonical>> = {', text: `
  ToyDistance(editor, node) {
    const { a, b } = views.pair(node);
    const difference = editor.emit({ name: node.name, op: 'Sub', inputs: [a, b] });
    editor.substitute(node, { op: 'Unary', inputs: [difference], attributes: { unary: { type: 'string', value: 'abs' } } });
  },`,
  },
];

/** x + x, as a core operator: its record says nothing but its shape and what it computes. */
const lowered: readonly Addition[] = [
  { file: 'runtime/ops/linear.ts', anchor: 'export const linearOps: OpTable = {', text: `ToyTwice: ${record('a + a + 0 * (other[i] ?? 0)')}` },
  {
    file: 'runtime/lower/ops/elementwise.ts', anchor: 'export const elementwiseLowerings: Readonly<Record<string, Lowering>> = {', text: `
  ToyTwice(context, node) {
    const { x, output } = views.single(node);
    const attributes = { kind: binaryCodes.add, unary: unaryCodes.identity, alpha: 0, beta: 0 };
    context.emit(node, 'BinaryF32', [context.tensor(x), context.tensor(x)], context.tensor(output), attributes);
  },`,
  },
];

let copy = '';
beforeAll(() => {
  copy = copyWith(['runtime'], [...rewritten, ...lowered]);
});
afterAll(() => rmSync(copy, { recursive: true }));

const node = (op: string, inputs: readonly string[], output: string, attributes: Node['attributes'] = new Map()): Node => ({ name: output, op, inputs, outputs: [output], attributes });
const dims = [1, 3, 5, 4];

/** Two convolutions, the toy operators, another convolution. */
const graph: Graph = {
  name: 'toys', opset: 17, inputs: ['x'], outputs: ['y'],
  nodes: [
    node('Conv', ['x', 'v'], 'a'), node('Conv', ['x', 'w'], 'b'), node('ToyDistance', ['a', 'b'], 'd'), node('ToyTwice', ['d'], 't'), node('Conv', ['t', 'w'], 'y'),
  ],
  constants: new Map<string, TensorValue>([['v', randomTensor([3, 3, 1, 1], 2)], ['w', randomTensor([3, 3, 1, 1], 3)]]),
  types: new Map([['x', { dtype: 'float32', shape: dims }]]), metadata: new Map(),
};

describe('a new operator', () => {
  it('takes the files that the README names in at most five lines', () => {
    const { files, lines } = answerOf('runtime/README.md', 'Add an operator');
    expect(lines.length).toBeLessThanOrEqual(5);
    const family = (name: string): string => name.replace(/[^/]+\.ts$/, '<family>.ts');
    expect([...new Set(changedIn(copy, 'runtime').map(family))].sort()).toEqual(files.filter((file) => file.includes('<family>')).sort());
    for (const additions of [rewritten, lowered]) expect(new Set(additions.map(({ file }) => file)).size, relative('', additions[0]?.file ?? '')).toBe(2);
  });

  it.skipIf(nativeMissing !== undefined)('is compiled without assumptions and computes its reference', async () => {
    const { compile } = await import(join(copy, 'runtime/lower/compile.ts')) as typeof import('../../runtime/lower/compile.js');
    const { inferShapes } = await import(join(copy, 'runtime/infer/infer.ts')) as typeof import('../../runtime/infer/infer.js');
    const { interpret } = await import(join(copy, 'runtime/infer/interpret.ts')) as typeof import('../../runtime/infer/interpret.js');
    const feed = randomTensor(dims, 7);
    const wanted = interpret(inferShapes(graph), new Map([['x', feed]])).get('y');
    const program = compile(graph);
    const got = new Float32Array(60);
    const native = loadProgram(program.bytes);
    await native.run([feed.data], [got]);
    await native.close();
    got.forEach((value, i) => expect(value).toBeCloseTo(Number(wanted?.data[i]), 4));
    // Transposes do not pass through it; they pass through what the other operator became.
    const around = program.opNames.map(({ op }) => op);
    expect(around[around.indexOf('ToyTwice') - 1]).toBe('Transpose');
    expect(around[around.indexOf('ToyTwice') + 1]).toBe('Transpose');
  });
});
