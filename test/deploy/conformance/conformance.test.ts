import { existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { documented, withTable } from '../../../deploy/conformance/document.js';
import { nodeTestsFolder, readNodeTests } from '../../../deploy/conformance/node-tests.js';
import { difference, runNodeTests, type NodeTestResult } from '../../../deploy/conformance/run.js';
import { countOutcomes, markdown, share, tabulate, total } from '../../../deploy/conformance/table.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { TensorProto } from '../../../runtime/onnx/schema.js';
import { writeTensor } from '../../../runtime/onnx/tensor-data.js';
import { asTensor } from '../../../runtime/tensor.js';
import { captureCli } from '../cli/capture.js';
import { floats, modelBytes, node, type ModelSpec } from '../../runtime/support/models.js';
import { nativeMissing } from '../../runtime/support/native.js';

const result = (operator: string, name: string, outcome: NodeTestResult['outcome'], code?: string): NodeTestResult => ({
  name: `test_${name}`, operator, counts: operator !== 'Loop', outcome, ...(code === undefined ? {} : { code }),
});
const results = [result('Mul', 'mul', 'passed'), result('Add', 'add', 'passed'), result('Add', 'add_u', 'refused', 'E_MODEL_OP'), result('Loop', 'loop', 'refused', 'E_MODEL_OP')];

describe('the conformance table', () => {
  it('counts by operator, and names what is refused', () => {
    expect(tabulate(results).map(({ operator, passed, wrong, refused }) => [operator, passed, wrong, refused])).toEqual([['Add', 1, 0, 1], ['Loop', 0, 0, 1], ['Mul', 1, 0, 0]]);
    expect(tabulate(results)[0]?.refusals).toEqual({ E_MODEL_OP: ['add_u'] });
    expect(markdown(results)).toContain('2 of 3 passed (66.6 %), 0 wrong, 1 refused.');
  });

  it('never rounds up to everything', () => {
    expect(share({ passed: 9999, wrong: 0, refused: 1 })).toBe('99.9 %');
  });

  it('replaces only what stands between the markers of a document', () => {
    const document = 'before\n<!-- conformance: generated -->\nold\n<!-- /conformance -->\nafter\n';
    const renewed = withTable(document, results);
    expect(renewed.startsWith('before\n<!-- conformance: generated -->\n## ')).toBe(true);
    expect(renewed.endsWith('\n<!-- /conformance -->\nafter\n')).toBe(true);
    expect([documented(document, results), documented(renewed, results), documented(renewed, results.slice(1))]).toEqual([false, true, false]);
    expect(() => withTable('no markers', results)).toThrow(/markers|lines/);
  });
});

describe('the comparison', () => {
  const want = floats([2], 1, -2);
  it('allows floats the tolerance of ONNX, and whole numbers nothing', () => {
    expect(difference(asTensor(floats([2], 1.0009, -2)), want)).toBeUndefined();
    expect(difference(asTensor(floats([2], 1.0012, -2)), want)).toMatch(/element 0/);
    expect(difference(asTensor(floats([2], 1, NaN)), want)).toMatch(/element 1: expected -2 but received NaN/);
    const whole = fromNumbers('int32', [1], [100_000]);
    expect(difference(asTensor(fromNumbers('int32', [1], [100_001])), whole)).toMatch(/element 0/);
  });
  it('compares types and shapes first', () => {
    expect(difference(asTensor(floats([2, 1], 1, -2)), want)).toMatch(/\[2, 1\]/);
    expect(difference(asTensor(fromNumbers('int32', [2], [1, -2])), want)).toMatch(/int32/);
    expect(difference(undefined, want)).toMatch(/missing/);
  });
  it('allows bfloat16 its step, and looks at nothing but the range of what was drawn', () => {
    expect(difference(asTensor(floats([2], 1.007, -2)), want, { brief: true })).toBeUndefined();
    expect(difference(asTensor(floats([2], 1.009, -2)), want, { brief: true })).toMatch(/element 0/);
    expect(difference(asTensor(floats([2], 1, 0)), want, { drawn: true })).toBeUndefined();
    expect(difference(asTensor(floats([2], 1, 0.5)), want, { drawn: true })).toMatch(/element 1: expected 0 or 1/);
  });
});

describe.skipIf(nativeMissing !== undefined)(`running node tests${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'sterna-node-tests-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  function write(name: string, spec: ModelSpec, inputs: readonly TensorValue[], outputs: readonly TensorValue[]): void {
    const data = join(root, name, 'test_data_set_0');
    mkdirSync(data, { recursive: true });
    writeFileSync(join(root, name, 'model.onnx'), modelBytes(spec));
    const file = (path: string, tensor: TensorValue) => writeFileSync(join(data, path), TensorProto.encode(TensorProto.fromObject(writeTensor('', tensor))).finish());
    inputs.forEach((tensor, i) => file(`input_${i}.pb`, tensor));
    outputs.forEach((tensor, i) => file(`output_${i}.pb`, tensor));
  }

  it('tells passed, wrong and refused apart', async () => {
    const relu = { inputs: { x: [2] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] };
    write('test_right', relu, [floats([2], -1, 2)], [floats([2], 0, 2)]);
    write('test_wrong', relu, [floats([2], -1, 2)], [floats([2], 0, 3)]);
    write('test_refused', { ...relu, nodes: [node('NoSuchOperator', ['x'], ['y'])] }, [floats([2], -1, 2)], [floats([2], 0, 2)]);
    write('test_right_expanded', { ...relu, nodes: [node('Neg', ['x'], ['n']), node('Neg', ['n'], ['m']), node('Relu', ['m'], ['y'])] }, [floats([2], -1, 2)], [floats([2], 0, 2)]);
    const ran = await runNodeTests(readNodeTests(root));
    expect(ran.map(({ name, operator, outcome, code }) => [name, operator, outcome, code])).toEqual([
      ['test_refused', 'NoSuchOperator', 'refused', 'E_MODEL_OP'],
      ['test_right', 'Relu', 'passed', undefined],
      ['test_right_expanded', 'Relu', 'passed', undefined],
      ['test_wrong', 'Relu', 'wrong', undefined],
    ]);
  });

  it('does not pass what was compared with nothing', async () => {
    const folder = join(root, 'empty');
    mkdirSync(join(folder, 'test_empty', 'test_data_set_0'), { recursive: true });
    writeFileSync(join(folder, 'test_empty', 'model.onnx'), modelBytes({ inputs: {}, constants: { c: floats([1], 2) }, nodes: [node('Neg', ['c'], ['y'])], outputs: ['y'] }));
    expect(await runNodeTests(readNodeTests(folder))).toMatchObject([{ outcome: 'wrong', message: 'the test expects no output' }]);
    rmSync(folder, { recursive: true });
  });

  it('as a command: 1 when something is wrong, 0 when not, and a document is renewed or compared', { timeout: 60_000 }, async () => {
    const wrong = await captureCli(['conformance', '--tests', root, '--json']);
    expect(wrong.code).toBe(1);
    expect(JSON.parse(wrong.out)).toMatchObject({ all: { passed: 2, wrong: 1, refused: 1 }, inScope: { passed: 2, wrong: 1, refused: 1 } });
    rmSync(join(root, 'test_wrong'), { recursive: true });
    const text = await captureCli(['conformance', '--tests', root]);
    expect([text.code, text.out]).toEqual([0, expect.stringMatching(/Relu +2 +0 +0[^]*NoSuchOperator|NoSuchOperator +0 +0 +1 +E_MODEL_OP x 1[^]*Relu +2 +0 +0/)]);
    const document = join(root, 'table.md');
    writeFileSync(document, 'text\n<!-- conformance: generated -->\n\n<!-- /conformance -->\n');
    expect((await captureCli(['conformance', '--tests', root, '--check', document])).code).toBe(1);
    expect((await captureCli(['conformance', '--tests', root, '--write', document])).code).toBe(0);
    expect((await captureCli(['conformance', '--tests', root, '--check', document])).code).toBe(0);
    expect((await captureCli(['conformance', '--tests', join(root, 'nowhere')])).code).toBe(3);
  });

  it('says where the tests come from when they are missing', () => {
    expect(() => readNodeTests(join(root, 'nowhere'))).toThrow(/libonnx-testdata/);
  });
});

/** Of the tests on floats, whole numbers and booleans. */
const leastShare = 0.98;

const missing = nativeMissing ?? (existsSync(nodeTestsFolder) ? undefined : `${nodeTestsFolder} is missing: apt-get install libonnx-testdata`);

describe.skipIf(missing !== undefined)(`the ONNX project's node tests in the engine${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('are never answered wrongly, and the documented table is true', { timeout: 120_000 }, async () => {
    const ran = await runNodeTests(readNodeTests());
    expect(ran.filter(({ outcome }) => outcome === 'wrong')).toEqual([]);
    const bar = countOutcomes(ran.filter(({ counts }) => counts));
    expect(bar.passed / total(bar), share(bar)).toBeGreaterThanOrEqual(leastShare);
    const document = readFileSync(new URL('../../../runtime/CONFORMANCE.md', import.meta.url), 'utf8');
    expect(documented(document, ran), 'renew it with: npm run conformance -- --write runtime/CONFORMANCE.md').toBe(true);
  });
});
