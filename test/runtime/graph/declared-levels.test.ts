import { describe, expect, it } from 'vitest';
import { checkDeclaredLevels } from '../../../runtime/graph/declared-levels.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, type DType } from '../../../runtime/graph/tensor-value.js';
import { floats, model, node } from '../support/models.js';

const check = (levels: unknown, values: readonly number[], dtype: DType = 'int8') =>
  checkDeclaredLevels(new Map([['sterna.levels', typeof levels === 'string' ? levels : JSON.stringify({ w: levels })]]), new Map([['w', fromNumbers(dtype, [values.length], values)]]));

describe('declared levels of weights', () => {
  it('hold where the weights have them, and where nothing is declared', () => {
    check(19, [-9, 0, 9]);
    check(3, [-1, 1]);
    checkDeclaredLevels(new Map(), new Map([['w', fromNumbers('int8', [1], [100])]]));
    check('{"activation": 29}', [100]);
    check(3, [0.5, 7], 'float32');
  });

  it('refuse a weight off the grid by name, element and value', () => {
    expect(() => check(19, [1, -9, 10])).toThrow(expect.objectContaining({ code: 'E_MODEL_VALUE', message: "Tensor 'w': element 2 is 10, but its 19 declared levels are -9..9" }) as Error);
    expect(() => check(3, [0, -2])).toThrow(expect.objectContaining({ code: 'E_MODEL_VALUE', details: { initializer: 'w', element: 1, value: -2 } }) as Error);
  });

  it.each([['no JSON', '{'], ['no object', '[19]'], ['null', 'null'], ['one level', 1], ['too many', 300], ['half a level', 2.5], ['no number', '{"w": "19"}']])('refuse %s', (_, levels) => {
    expect(() => check(levels, [0])).toThrow(expect.objectContaining({ code: 'E_MODEL_MALFORMED' }) as Error);
  });

  it('are checked when a model is imported', () => {
    const spec = { opset: 13, inputs: { x: [1, 2, 3, 3] }, constants: { w: fromNumbers('int8', [1, 2, 1, 1], [3, -12]), s: floats([], 0.1) }, nodes: [node('DequantizeLinear', ['w', 's'], ['d']), node('Conv', ['x', 'd'], ['y'])], outputs: ['y'] };
    expect(() => graphFromOnnx({ ...model(spec), metadata: new Map([['sterna.levels', '{"w":19}']]) })).toThrow(/element 1 is -12/);
  });
});
