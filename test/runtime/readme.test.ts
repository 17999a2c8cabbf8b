import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { supportedOperators } from '../../runtime/lower/supported.js';
import { examples } from './engines/in-parts-cases.js';
import { cases } from './ops/cases.js';
import { qualifiedName } from '../../runtime/graph/import-nodes.js';
import { contribAttentionCases, dynamicLstm } from './ops/contrib-attention-cases.js';
import { contribOtherCases } from './ops/contrib-other-cases.js';
import { computedCases } from './ops/computed-cases.js';
import { expansionCases } from './ops/expansion-cases.js';
import { layerCases } from './ops/layer-cases.js';
import { quantizedCases } from './ops/quantized-cases.js';
import { wholeCases } from './ops/whole-cases.js';

const readme = readFileSync(new URL('../../runtime/README.md', import.meta.url), 'utf8');
const section = /<!-- operators:.*?-->(.*?)<!-- \/operators -->/s.exec(readme)?.[1] ?? '';
const listed = (title: RegExp): string[] => (title.exec(section)?.[1] ?? '').split(/,\s*/).map((name) => name.trim().replace(/\.$/, '')).filter((name) => name !== '');

/** What onnxruntime does not compute on this CPU: test/runtime/ops/expansions.test.ts holds it to its definition. */
const withoutOracle = new Set(['com.microsoft.NhwcConv', 'com.microsoft.NhwcFusedConv', 'com.microsoft.NhwcMaxPool', 'com.microsoft.BiasAdd', 'com.microsoft.BiasSplitGelu', 'com.microsoft.GroupNorm', 'com.microsoft.QLinearReduceMean', 'com.microsoft.SkipGroupNorm',
  'qonnx.BipolarQuant', 'qonnx.IntQuant', 'qonnx.Quant',
  // It draws other numbers, and has no tensors that may be absent (random.test.ts, containers.test.ts).
  'Bernoulli', 'Optional', 'OptionalGetElement', 'OptionalHasElement', 'TensorScatter',
  // The ONNX project's own tests hold these to their definitions.
  'ai.onnx.preview.training.Adagrad', 'ai.onnx.preview.training.Adam', 'ai.onnx.preview.training.Momentum']);

describe('the list of operators in runtime/README.md', () => {
  it('is what the code supports', () => {
    const { run, folded, interpreted } = supportedOperators();
    expect(listed(/Run by the engine: (.*?)\n\n/s)).toEqual(run);
    expect(listed(/constants\): (.*?)\n\n/s)).toEqual(folded);
    expect(listed(/programs: (.*?)\n$/s)).toEqual(interpreted);
  });

  it('has nothing without a test against onnxruntime', () => {
    const tested = new Set([...cases, ...layerCases, ...wholeCases, ...quantizedCases, ...expansionCases, ...computedCases, ...contribAttentionCases, ...contribOtherCases, ...examples, dynamicLstm].flatMap(({ spec }) => spec.nodes.map(qualifiedName)));
    expect(supportedOperators().run.filter((op) => !tested.has(op) && !withoutOracle.has(op))).toEqual([]);
  });
});
