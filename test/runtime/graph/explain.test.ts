import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { explainedPasses } from '../../../runtime/graph/explain.js';
import { floats, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';

const compiler = pathToFileURL(join(import.meta.dirname, '../../../dist/runtime/lower/compile.js')).href;

/** What a process says on stderr while it compiles a model. */
function told(spec: ModelSpec, setting?: string, times = 1): string {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-explain-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'model.onnx'), modelBytes(spec));
  const script = `const { readFileSync } = await import('node:fs'); const { compile } = await import(${JSON.stringify(compiler)}); for (let i = 0; i < ${times}; i++) compile(new Uint8Array(readFileSync('model.onnx')));`;
  const { STERNA_EXPLAIN: _, ...environment } = process.env;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder, encoding: 'utf8', env: { ...environment, ...(setting === undefined ? {} : { STERNA_EXPLAIN: setting }) },
  });
  expect(status, stderr).toBe(0);
  return stderr;
}

const x = [1, 3, 4, 5] as const;
const constants = { w: randomTensor([6, 3, 1, 1], 1), c: floats([], 2) };
const spec = (nodes: ModelSpec['nodes'], outputs: readonly string[]): ModelSpec => ({ inputs: { x }, constants, nodes, outputs });

/** A gate that is an output too, a product without a gate, one whose gate has no name; two readers of a convolution. */
const misses = spec([
  node('Conv', ['x', 'w'], ['a']), node('Sigmoid', ['a'], ['g']), node('Mul', ['a', 'g'], ['y']),
  node('Mul', ['x', 'c'], ['twice']), node('Tanh', ['x'], ['t']), node('Mul', ['x', 't'], ['z']),
], ['g', 'y', 'twice', 'z']);

describe('STERNA_EXPLAIN', () => {
  it('names the nodes that a pass leaves, and why', () => {
    const lines = told(misses, 'fuse-silu').split('\n');
    expect(lines).toContainEqual(expect.stringMatching(/^sterna: fuse-silu: Mul 'y': 'g.*' has other readers, or is an output of the model$/));
    expect(lines).toContain("sterna: fuse-silu: Mul 'twice': neither factor is a function of the other");
    expect(lines).toContain("sterna: fuse-silu: Mul 'z': x * tanh(x) is not one function of the engine");
    expect(lines.filter((line) => line !== '')).toHaveLength(3);
  });

  it('takes several names, and all', () => {
    const several = told(misses, 'fuse-activations, fuse-silu');
    expect(several).toMatch(/^sterna: fuse-activations: NhwcConv 'a': its output is an output of the model, or does not have exactly one reader$/m);
    expect(several).toMatch(/^sterna: fuse-silu: /m);
    expect(several).not.toMatch(/fuse-binary/);
    expect(told(misses, 'all')).toMatch(/^sterna: fuse-binary: /m);
  });

  it('says nothing of nodes that a pass takes, nor when it is not set', () => {
    const taken = spec([node('Sigmoid', ['x'], ['g']), node('Mul', ['x', 'g'], ['y'])], ['y']);
    expect(told(taken, 'fuse-silu')).toBe('');
    expect(told(misses)).toBe('');
    expect(told(misses, '')).toBe('');
  });

  it('says it again of the next model', () => {
    expect(told(misses, 'fuse-silu', 2).split('\n').filter((line) => line !== '')).toHaveLength(6);
  });

  it('lists the passes when it names another', () => {
    expect(told(misses, 'fuse-silus')).toBe(`sterna: STERNA_EXPLAIN: expected all, or some of ${explainedPasses.join(', ')}, but received 'fuse-silus'\n`);
  });
});
