import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { supportedOperators } from '../../runtime/lower/supported.js';
import { cases } from './ops/cases.js';
import { layerCases } from './ops/layer-cases.js';
import { quantizedCases } from './ops/quantized-cases.js';
import { wholeCases } from './ops/whole-cases.js';

const readme = readFileSync(new URL('../../runtime/README.md', import.meta.url), 'utf8');
const section = /<!-- operators:.*?-->(.*?)<!-- \/operators -->/s.exec(readme)?.[1] ?? '';
const listed = (title: RegExp): string[] => (title.exec(section)?.[1] ?? '').split(/,\s*/).map((name) => name.trim().replace(/\.$/, '')).filter((name) => name !== '');

describe('the list of operators in runtime/README.md', () => {
  it('is what the code supports', () => {
    const { run, folded } = supportedOperators();
    expect(listed(/Run by the engine: ([^\n]*)/)).toEqual(run);
    expect(listed(/constants\): ([^\n]*)/)).toEqual(folded);
  });

  it('has nothing without a test against onnxruntime', () => {
    const tested = new Set([...cases, ...layerCases, ...wholeCases, ...quantizedCases].flatMap(({ spec }) => spec.nodes.map(({ op }) => op)));
    expect(supportedOperators().run.filter((op) => !tested.has(op))).toEqual([]);
  });
});
