/** Gradients of RNN, GRU and LSTM in every form: against central differences in float64, and on both engines. */
import { afterAll, describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import { differentiate } from '../../../runtime/gradients/differentiate.js';
import { mostSteps } from '../../../runtime/gradients/rules/recurrent-layer.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { asTensor } from '../../../runtime/tensor.js';
import { fromInts, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';
import { checkGradients, evaluate, withLoss } from './double.js';
import { relativeError, Worst } from './worst.js';

type Attributes = NonNullable<Parameters<typeof node>[3]>;
type Operand = 'bias' | 'lengths' | 'hidden' | 'cell' | 'peephole';

interface Form {
  readonly steps?: number;
  readonly attributes?: Attributes;
  readonly outputs?: readonly string[];
  readonly with?: readonly Operand[];
}

const [inputs, units, batch] = [3, 4, 3];
const gates: Readonly<Record<string, number>> = { RNN: 1, GRU: 3, LSTM: 4 };

/** A layer of that form. Initial states and lengths are inputs, so that they are differentiated by, and are not known. */
function layer(op: string, { steps = 5, attributes = {}, outputs, with: given = [] }: Form): { spec: ModelSpec; feeds: Record<string, TensorValue> } {
  const d = attributes['direction'] === 'bidirectional' ? 2 : 1;
  const width = (gates[op] ?? 1) * units;
  const first = attributes['layout'] === 1;
  const state = first ? [batch, d, units] : [d, batch, units];
  const has = (operand: Operand) => given.includes(operand);
  const feeds = {
    x: randomTensor(first ? [batch, steps, inputs] : [steps, batch, inputs], 1, -2, 2),
    ...(has('hidden') ? { hidden: randomTensor(state, 2) } : {}), ...(has('cell') ? { cell: randomTensor(state, 3) } : {}),
  };
  const constants = {
    w: randomTensor([d, width, inputs], 4, -0.8, 0.8), r: randomTensor([d, width, units], 5, -0.8, 0.8),
    ...(has('bias') ? { bias: randomTensor([d, 2 * width], 6, -0.5, 0.5) } : {}), ...(has('peephole') ? { peephole: randomTensor([d, 3 * units], 7) } : {}),
    ...(has('lengths') ? { lengths: fromInts('int32', [steps, 1, steps - 2]) } : {}),
  };
  const operands = ['bias', 'lengths', 'hidden', ...(op === 'LSTM' ? ['cell', 'peephole'] : [])].map((name) => (has(name as Operand) ? name : ''));
  const made = outputs ?? (op === 'LSTM' ? ['y', 'h', 'c'] : ['y', 'h']);
  return {
    spec: {
      opset: 14, inputs: Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims])), constants,
      nodes: [node(op, ['x', 'w', 'r', ...operands], made, { ...attributes, hidden_size: units })], outputs: made.filter((name) => name !== ''),
    },
    feeds,
  };
}

const functions = (names: readonly string[], alpha: readonly number[] = [], beta: readonly number[] = []): Attributes =>
  ({ activations: { type: 'strings', value: names }, activation_alpha: { type: 'floats', value: alpha }, activation_beta: { type: 'floats', value: beta } });

const bidirectional = { direction: 'bidirectional' };
const all: Readonly<Record<string, readonly Operand[]>> = { RNN: ['bias', 'hidden'], GRU: ['bias', 'hidden'], LSTM: ['bias', 'hidden', 'cell'] };

const forms: readonly (readonly [string, string, Form])[] = [
  ...['RNN', 'GRU', 'LSTM'].flatMap((op): (readonly [string, string, Form])[] => {
    const given = all[op] ?? [];
    const lengths: readonly Operand[] = [...given, 'lengths'];
    return [
      ['as it is', op, {}],
      ['one step', op, { steps: 1, with: given }],
      ['all states', op, { with: given }],
      ['reverse', op, { attributes: { direction: 'reverse' }, with: given }],
      ['bidirectional', op, { attributes: bidirectional, with: given }],
      ['last states only', op, { with: given, outputs: op === 'LSTM' ? ['', 'h', 'c'] : ['', 'h'] }],
      ['lengths', op, { with: lengths }],
      ['lengths, reverse', op, { attributes: { direction: 'reverse' }, with: lengths }],
      ['lengths, bidirectional', op, { attributes: bidirectional, with: lengths }],
      ['lengths without states', op, { attributes: bidirectional, with: ['bias', 'lengths'] }],
      ['clip', op, { attributes: { clip: { float: 0.4 } }, with: given }],
      ['batch first', op, { attributes: { layout: 1, ...bidirectional }, with: given }],
    ];
  }),
  ['linear before reset', 'GRU', { attributes: { linear_before_reset: 1 } }],
  ['linear before reset, bidirectional, lengths', 'GRU', { attributes: { linear_before_reset: 1, ...bidirectional }, with: ['bias', 'hidden', 'lengths'] }],
  ['the last cell only', 'LSTM', { outputs: ['', '', 'c'] }],
  ['peepholes', 'LSTM', { with: ['bias', 'hidden', 'cell', 'peephole'] }],
  ['peepholes, bidirectional, lengths', 'LSTM', { attributes: bidirectional, with: ['bias', 'hidden', 'cell', 'peephole', 'lengths'] }],
  ['peepholes, clip', 'LSTM', { attributes: { clip: { float: 0.5 } }, with: ['bias', 'cell', 'peephole'] }],
  ['input and forget together', 'LSTM', { attributes: { input_forget: 1 }, with: ['bias', 'cell'] }],
  ['input and forget together, peepholes', 'LSTM', { attributes: { input_forget: 1 }, with: ['bias', 'cell', 'peephole'] }],
  ['other functions', 'LSTM', { attributes: functions(['HardSigmoid', 'Softsign', 'LeakyRelu'], [0.3, 0.05], [0.4]) }],
  ['functions of directions', 'GRU', { attributes: { ...bidirectional, ...functions(['Sigmoid', 'ScaledTanh', 'Sigmoid', 'Affine'], [0.8, 0.7], [0.9, 0.1]) } }],
  ['functions of directions', 'RNN', { attributes: { ...bidirectional, ...functions(['Softplus', 'Elu'], [0.7]) } }],
  ['ThresholdedRelu and Relu', 'RNN', { attributes: { ...bidirectional, ...functions(['ThresholdedRelu', 'Relu'], [0.3]) } }],
];

const graphOf = (spec: ModelSpec): Graph => {
  const graph = inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));
  return withLoss(graph, (value) => typeOf(graph, value));
};

/** Gradients by everything that can have one, of a random sum of all outputs. */
function differentiated(op: string, form: Form) {
  const { spec, feeds } = layer(op, form);
  const graph = graphOf(spec);
  const wrt = [...Object.keys(feeds), 'w', 'r', ...['bias', 'peephole'].filter((name) => graph.constants.has(name))];
  return { graph, feeds, made: differentiate(graph, { loss: 'loss', wrt }) };
}

describe('gradients of recurrent layers', () => {
  const worst = new Worst();
  afterAll(() => worst.write('recurrent'));

  it.each(forms)('equal central differences in float64: %s, %s', (name, op, form) => {
    const { graph, feeds, made } = differentiated(op, form);
    const checks = checkGradients(graph, made, new Map(Object.entries(feeds)));
    expect(checks.length).toBe(made.gradients.size);
    for (const check of checks) worst.note(`${op} ${name}`, check);
    for (const check of checks) expect(relativeError(check), `${check.value}: ${check.gradient} and ${check.difference}`).toBeLessThanOrEqual(1e-4);
  });

  const expectSame = (op: string, form: Form, got: Readonly<Record<string, { data: ArrayLike<number | bigint> }>>): void => {
    const { feeds, made } = differentiated(op, form);
    const names = [...made.gradients.values()];
    evaluate(made.graph, new Map(Object.entries(feeds)), names).forEach((value, i) => {
      const { maximum, range } = difference(got[names[i] ?? '']?.data ?? [], Float64Array.from(value.data, Number));
      expect(maximum, names[i]).toBeLessThanOrEqual(1e-4 * Math.max(range, 1e-2));
    });
  };

  // onnxruntime has no layers with the batch first.
  it.skipIf(oracleMissing !== undefined).each(forms.filter(([, , { attributes }]) => attributes?.['layout'] === undefined))('run on onnxruntime: %s, %s', async (_, op, form) => {
    const { feeds, made } = differentiated(op, form);
    expectSame(op, form, await oracle(serializeModel(graphToOnnx(made.graph)), feeds));
  });

  it.skipIf(nativeMissing !== undefined).each(forms)('run on the native engine: %s, %s', async (_, op, form) => {
    const { feeds, made } = differentiated(op, form);
    const session = await openNative(serializeModel(graphToOnnx(made.graph)));
    expectSame(op, form, await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)]))));
    await session.close();
  });

  it('are refused for sequences that are too long, with the way round', () => {
    const { spec } = layer('GRU', { steps: mostSteps + 1 });
    expect(() => differentiate(graphOf(spec), { loss: 'loss', wrt: ['w'] })).toThrow(expect.objectContaining({ code: 'E_GRADIENT', message: expect.stringMatching(/at most 1000 steps, and it has 1001; train on shorter sequences\. Freeze what lies before it/) as string }));
  });

  it('hold the longest sequence that is allowed in a file that can be read back', () => {
    const { spec } = layer('LSTM', { steps: mostSteps });
    const { graph } = differentiate(graphOf(spec), { loss: 'loss', wrt: ['w'] });
    expect(graphFromOnnx(parseModel(serializeModel(graphToOnnx(graph)))).nodes.length).toBe(graph.nodes.length);
  });
});
