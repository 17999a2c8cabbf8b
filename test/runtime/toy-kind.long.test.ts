import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Frame } from '../../runtime/frame.js';
import { meanModel } from '../deploy/package/tiny-models.js';
import { answerOf, changedIn, copyWith, type Addition } from '../support/toys.js';
import { frameOf } from './pipeline/fakes.js';
import { nativeMissing } from './support/native.js';

// Adds a kind of pipeline and a family of detectors to a copy of the sources, each in the files that its README names, packs and runs them, and
// compares these files with the README.

const kind: readonly Addition[] = [
  { file: 'runtime/kinds/brightness/kind.ts', text: readFileSync(join(import.meta.dirname, 'kinds/brightness.ts'), 'utf8').replaceAll("'../../../runtime/", "'../../").replaceAll("'../../kinds/", "'../") },
  { file: 'runtime/kinds/registry.ts', anchor: "import { sound } from './sound/kind.js';", text: "\nimport { brightness } from './brightness/kind.js';" },
  { file: 'runtime/kinds/registry.ts', anchor: 'export const kinds: readonly Kind[] = [', text: 'brightness, ' },
];

/** One output of rows x1, y1, x2, y2 (shares) and score, called "toy". */
const family: readonly Addition[] = [
  {
    file: 'runtime/vision/decoders/toy.ts', text: `
import { z } from 'zod';
import { CandidateList } from './candidates.js';
import { cornersOf, defineFamily, rgbOf255 } from './family.js';
import { fourAt, rowMajor, valueAt } from './table.js';

export const toy = defineFamily({
  type: 'toy', title: 'Toy', fits: 'one output with the name toy', settings: z.object({ type: z.literal('toy') }),
  recognize: ({ heads: [head] }) => (head?.name === 'toy' ? { decoder: { type: 'toy' }, classes: 1, label: 'toy', picture: rgbOf255, scoreThreshold: 0.5, suppress: false } : null),
  decode(outputs, _settings, { input, fit, threshold }) {
    const table = rowMajor(outputs, 'toy');
    const list = new CandidateList(fit);
    for (let row = 0; row < table.rows; row++) {
      const score = valueAt(table, row, 4);
      if (score >= threshold) list.add(score, 0, cornersOf('xyxy', 'shares', input, fourAt(table, row)));
    }
    return list.finish();
  },
});
`,
  },
  { file: 'runtime/vision/decoders/index.ts', anchor: "import { yunet } from './yunet.js';", text: "\nimport { toy } from './toy.js';" },
  { file: 'runtime/vision/decoders/index.ts', anchor: 'const families = [', text: 'toy, ' },
];

let copy = '';
beforeAll(() => {
  copy = copyWith(['runtime', 'deploy'], [...kind, ...family]);
});
afterAll(() => rmSync(copy, { recursive: true }));

/** A module of the copy, typed as the project's. */
const load = async <T>(path: string): Promise<T> => await import(join(copy, path)) as T;
const sourceOf = (frames: readonly Frame[]): AsyncIterable<Frame> & { dropped: number } => ({ dropped: 0, async *[Symbol.asyncIterator]() { yield* frames; } });

/** What `sterna run` prints of the findings in these frames. */
async function findingsOf(modelPackage: import('../../runtime/package/package.js').ModelPackage, frames: readonly Frame[]): Promise<unknown[]> {
  const { createPipeline } = await load<typeof import('../../runtime/pipeline/create.js')>('runtime/pipeline/create.ts');
  const { runFrames } = await load<typeof import('../../deploy/run/run.js')>('deploy/run/run.ts');
  const pipeline = await createPipeline(modelPackage);
  const findings: unknown[] = [];
  await runFrames(pipeline, sourceOf(frames), { onFrame: (line) => findings.push(line.findings) });
  await pipeline.close();
  return findings;
}

describe('a new kind of pipeline and a new family of detectors', () => {
  it('take the files that their READMEs name in at most five lines', () => {
    const kinds = answerOf('runtime/kinds/README.md', 'To add a kind');
    const families = answerOf('runtime/vision/decoders/README.md', 'To add a family');
    for (const { lines } of [kinds, families]) expect(lines.length).toBeLessThanOrEqual(5);
    const named = [...kinds.files.map((file) => `kinds/${file.replace('<kind>', 'brightness')}`), ...families.files.map((file) => `vision/decoders/${file.replace('<family>', 'toy')}`)];
    expect(named.sort()).toEqual(changedIn(copy, 'runtime'));
    expect(changedIn(copy, 'deploy')).toEqual([]);
  });

  it.skipIf(nativeMissing !== undefined)('are packed with golden vectors, tested, opened and run by what every kind is', async () => {
    const { buildPipelinePackage } = await load<typeof import('../../deploy/package/build.js')>('deploy/package/build.ts');
    const { openPackage, selfTest } = await load<typeof import('../../runtime/package/index.js')>('runtime/package/index.ts');
    const meter = meanModel([1, 1, 4, 4], [{ name: 'y', weights: [[1]], bias: [0], dims: [1, 1] }]);
    const { bytes } = await buildPipelinePackage('brightness', { meter }, { name: 'bright', version: '1.0.0' });
    const opened = await openPackage(bytes);
    expect(opened.manifest.golden.map(({ stage }) => stage)).toEqual(['meter']);
    expect((await selfTest(opened, { rounds: 1 })).failures).toEqual([]);
    const [bright, dark] = await findingsOf(opened, [frameOf([255, 255, 255]), frameOf([20, 20, 20])]);
    expect([bright, dark]).toEqual([[{ type: 'class', label: 'bright', score: 1 }], []]);
  });

  it.skipIf(nativeMissing !== undefined)('are recognized in a model without a package', async () => {
    const { openModel } = await load<typeof import('../../deploy/run/open.js')>('deploy/run/open.ts');
    const path = join(copy, 'toy.onnx');
    writeFileSync(path, meanModel([1, 3, 24, 32], [{ name: 'toy', weights: Array.from({ length: 10 }, () => [0, 0, 0]), bias: [0.25, 0.25, 0.75, 0.75, 0.9, 0, 0, 1, 1, 0.1], dims: [1, 2, 5] }]));
    const notes: string[] = [];
    const opened = await openModel(path, { sizes: { shapes: {}, symbols: {} } }, (text) => notes.push(text));
    expect(notes).toContain('assumed --decoder toy (Toy)');
    const frame = { ...frameOf([9, 9, 9]), width: 32, height: 24, data: new Uint8Array(32 * 24 * 3) };
    expect(await findingsOf(opened, [frame])).toEqual([[expect.objectContaining({ type: 'detection', label: 'toy', score: 0.9, box: [8, 6, 16, 12] })]]);
  });
});
