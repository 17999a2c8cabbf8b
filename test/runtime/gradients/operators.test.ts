/** The gradient of every operator against central differences in float64, and what both engines make of the graphs. */
import { afterAll, describe, expect, it } from 'vitest';
import { typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { differentiate, type Differentiated } from '../../../runtime/gradients/differentiate.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { differentiableOperators } from '../../../runtime/gradients/rules/table.js';
import { coreOps } from '../../../runtime/ops/core.js';
import { quantizedOps } from '../../../runtime/ops/quantized.js';
import { operatorNames } from '../../../runtime/ops/registry.js';
import { RuntimeError } from '../../../runtime/errors.js';
import { cases as plainCases, type Case } from '../ops/cases.js';
import { computedCases } from '../ops/computed-cases.js';
import { expansionCases } from '../ops/expansion-cases.js';
import { layerCases } from '../ops/layer-cases.js';
import { modelBytes, node, randomTensor } from '../support/models.js';
import { random } from '../support/random.js';
import { checkGradients, withLoss } from './double.js';
import { operatorCases } from './operator-cases.js';
import { relativeError, Worst } from './worst.js';

/** Small enough for an evaluation by loops, several times. */
const isSmall = ({ spec, feeds }: Case): boolean => [...Object.values(feeds), ...Object.values(spec.constants ?? {})].reduce((sum, { data }) => sum + data.length, 0) <= 4000;

/** Rounding has no derivative: its rules are tested by their definition. */
const rounds = ({ op }: { op: string }): boolean => /Quantize|QLinear|QGemm|NBits/.test(op);

const cases: readonly Case[] = [
  ...[...plainCases, ...layerCases, ...expansionCases, ...computedCases].filter((example) => isSmall(example) && !example.spec.nodes.some(rounds)), ...operatorCases,
];

/** Operators of these cases that have no gradient. Control flow and other operators that inference replaces never reach differentiation. */
const without = ['DequantizeLinear' /* in blocks */, 'Mod', 'NonMaxSuppression', 'Range'];

/** Rounding to codes has no derivative: its rule is tested by its definition (differentiate.test.ts). */
const notCompared = ['QuantizeLinear'];

/** Forms that no recent operator set has. */
const flattening = ['Softmax before operator set 13', 'LogSoftmax before operator set 13', 'Hardmax before operator set 13'];

/** Feeds a little off the numbers that tests like, where functions have kinks. */
function jittered(feeds: Case['feeds']): Map<string, TensorValue> {
  const next = random(3);
  return new Map(Object.entries(feeds).map(([name, value]) => [name, value.dtype === 'float32' ? fromNumbers('float32', value.dims, Float64Array.from(toNumbers(value), (x) => x * (1 - 1e-3 * next()) + 1e-6 * next())) : value]));
}

const graphOf = ({ spec }: Case): Graph => {
  const graph = inferShapes(graphFromOnnx(parseModel(modelBytes(spec))));
  return withLoss(graph, (value) => typeOf(graph, value));
};

/** By which value a graph cannot be differentiated: the loss does not change with it, or it must be known when the graph is compiled. */
function hindering(error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return undefined;
  const details = error.details as { value?: string; operand?: string };
  return error.code === 'E_GRADIENT' ? details.value : details.operand;
}

/** Differentiates by all inputs and constants of the model that the loss changes with. */
function differentiated(graph: Graph, { spec, feeds }: Case): Differentiated | undefined {
  const numbers = Object.entries({ ...feeds, ...spec.constants }).filter(([, { dtype, data }]) => dtype === 'float32' && data.length > 0).map(([name]) => name);
  let wrt = numbers.filter((name) => graph.inputs.includes(name) || graph.constants.has(name));
  while (wrt.length > 0) {
    try {
      return differentiate(graph, { loss: 'loss', wrt });
    } catch (error) {
      const value = hindering(error);
      if (typeof value !== 'string' || !wrt.includes(value)) throw error;
      wrt = wrt.filter((name) => name !== value);
    }
  }
  return undefined;
}

const refusedOperators = new Set<string>();

/** Operators that stand between the loss and what it is differentiated by. */
function operatorsBetween({ nodes }: Graph, wrt: Iterable<string>): string[] {
  const changing = new Set(wrt);
  const [needed, between] = [new Set(['loss']), new Set<string>()];
  for (const { inputs, outputs } of nodes) if (inputs.some((name) => changing.has(name))) for (const name of outputs) changing.add(name);
  for (const { op, inputs, outputs } of [...nodes].reverse()) {
    if (!outputs.some((name) => needed.has(name))) continue;
    for (const name of inputs) needed.add(name);
    if (inputs.some((name) => changing.has(name))) between.add(op);
  }
  return [...between];
}

function differentiatedOrRefused(graph: Graph, example: Case): Differentiated | undefined {
  try {
    return differentiated(graph, example);
  } catch (error) {
    const { op } = (error as RuntimeError).details as { op?: string };
    if (error instanceof RuntimeError && error.code === 'E_GRADIENT' && op !== undefined) refusedOperators.add(op);
    else if (!flattening.includes(example.name)) throw error;
    return undefined;
  }
}

describe('gradients against central differences in float64', () => {
  const worst = new Worst();
  const compared = new Set<string>();
  afterAll(() => worst.write('operators', { operators: [...compared].filter((op) => differentiableOperators.includes(op)).length }));

  it.each(cases)('$name', (example) => {
    const graph = graphOf(example);
    if (!graph.nodes.some(({ outputs }) => outputs.includes('loss'))) return;
    const feeds = jittered(example.feeds);
    const result = differentiatedOrRefused(graph, example);
    if (result === undefined) return;
    const checks = checkGradients(graph, result, feeds);
    if (checks.length > 0) for (const op of operatorsBetween(graph, result.gradients.keys())) compared.add(op);
    for (const check of checks) worst.note(example.name, check);
    for (const check of checks) expect(relativeError(check), `${check.value}: ${check.gradient} and ${check.difference}`).toBeLessThanOrEqual(1e-4);
  });

  it('of RMSNormalization, which inference writes in other operators before it is differentiated', () => {
    const plain = graphOf({ name: '', spec: { opset: 17, inputs: { x: [2, 3, 4] }, constants: { s: randomTensor([4], 2) }, nodes: [node('LayerNormalization', ['x', 's'], ['y'])], outputs: ['y'] }, feeds: {} });
    const graph = { ...plain, nodes: plain.nodes.map((made) => (made.op === 'LayerNormalization' ? { ...made, op: 'RMSNormalization' } : made)) };
    const checks = checkGradients(graph, differentiate(graph, { loss: 'loss', wrt: ['x', 's'] }), new Map([['x', randomTensor([2, 3, 4], 1)]]));
    expect(checks).toHaveLength(2);
    compared.add('RMSNormalization');
    for (const check of checks) worst.note('RMSNormalization', check);
    for (const check of checks) expect(relativeError(check)).toBeLessThanOrEqual(1e-4);
  });

  it('are compared for every operator that has one, except rounding to codes', () => {
    expect(differentiableOperators.filter((op) => !compared.has(op))).toEqual(notCompared);
  });

  it('are there for every operator but a few', () => {
    expect([...refusedOperators].filter((op) => !without.includes(op))).toEqual([]);
  });
});

/** Passes introduce them after what is differentiated. */
const internal = new Set([...Object.keys(coreOps), ...Object.keys(quantizedOps), 'NhwcConv', 'NhwcPool', 'NhwcResize', 'Silu']);

describe('the table of gradients', () => {
  it('has every operator but these, most of which compute with whole numbers or draw at random', () => {
    const missing = operatorNames.filter((op) => !internal.has(op) && !differentiableOperators.includes(op));
    expect(missing).toEqual([
      'BitShift', 'BitwiseAnd', 'BitwiseNot', 'BitwiseOr', 'BitwiseXor', 'Constant', 'ConstantOfShape', 'ConvInteger', 'Det',
      'DynamicQuantizeLinear', 'MatMulInteger', 'MaxRoiPool', 'Mod', 'Multinomial', 'NonMaxSuppression', 'NonZero', 'QLinearConv',
      'QLinearMatMul', 'RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike', 'Range', 'RoiAlign', 'TfIdfVectorizer', 'Unique',
      'com.microsoft.Inverse',
    ]);
  });
});
