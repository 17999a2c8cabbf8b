/** A character transformer on a text that the test writes: what it learns, that it goes on with the same bits, and what is refused. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { labConfig, parseLabConfig, type TextConfig } from '../../../deploy/lab/config.js';
import { runText } from '../../../deploy/lab/language/run.js';
import { perplexityOf, readCorpus, tokensTensor } from '../../../deploy/lab/language/text.js';
import { buildTransformer } from '../../../deploy/lab/language/transformer.js';
import { runLab } from '../../../deploy/lab/run.js';
import { createSession } from '../../../runtime/session.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { temporaryFolder } from '../../support/folder.js';
import { captureCli } from '../cli/capture.js';

const sentence = 'the quick brown fox jumps over the lazy dog; ';
const student = { kind: 'transformer', width: 16, layers: 1, heads: 2 };

async function configOf(more: Readonly<Record<string, unknown>> = {}, data: Readonly<Record<string, unknown>> = {}): Promise<TextConfig> {
  const file = join(temporaryFolder(), 'text.txt');
  await writeFile(file, sentence.repeat(40));
  return labConfig.parse({ model: { student }, data: { kind: 'text', file, context: 12, ...data }, loss: { kind: 'cross-entropy' }, rate: 0.01, steps: 150, batch: 8, average: 0.5, checkpoint_steps: 10, seed: 2, ...more }) as TextConfig;
}

const missing = oracleMissing ?? nativeMissing;
const settings = { vocabulary: 7, width: 16, layers: 2, heads: 2, context: 6, seed: 1 };

describe.skipIf(missing !== undefined)(`a character transformer${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('learns a text, whose end it was not shown', async () => {
    const config = await configOf();
    const [out, untrained] = [temporaryFolder(), buildTransformer({ ...settings, vocabulary: new Set(sentence).size, context: 12 })];
    const { judged } = await readCorpus(config.data.file, 0.1, 12);
    const report = await runText(config, out);
    expect(report.characters).toBe(new Set(sentence).size);
    expect(report.perplexity).toBeLessThan(0.2 * await perplexityOf(untrained, judged, 12));
    expect(await perplexityOf(await readFile(report.model), judged, 12)).toBe(report.perplexity);
    expect(JSON.parse(await readFile(join(out, 'run.json'), 'utf8'))).toMatchObject({ perplexity: report.perplexity, config: { seed: 2 } });
  });

  it('sees nothing of what follows, on either engine', async () => {
    const model = buildTransformer(settings);
    for (const engine of ['native', 'onnxruntime'] as const) {
      const session = await createSession(model, { engine, shapes: { tokens: [1, 6] } });
      try {
        const [a, b] = [await session.run({ tokens: tokensTensor([1, 2, 3, 4, 5, 6], [1, 6]) }), await session.run({ tokens: tokensTensor([1, 2, 3, 0, 0, 0], [1, 6]) })];
        const [x, y] = [a, b].map(({ logits }) => [...(logits?.data as Float32Array)]);
        expect(x?.slice(0, 21)).toEqual(y?.slice(0, 21));
        expect(x?.slice(21)).not.toEqual(y?.slice(21));
      } finally {
        await session.close();
      }
    }
  });

  it('that is interrupted goes on to the same bits', async () => {
    const config = await configOf({ steps: 25 });
    const [whole, broken] = [temporaryFolder(), temporaryFolder()];
    await runText(config, whole);
    await expect(runText(config, broken, { onStep: (step) => { if (step === 17) throw new Error('power cut'); } })).rejects.toThrow('power cut');
    await runText(config, broken);
    expect((await readFile(join(broken, 'model.onnx'))).equals(await readFile(join(whole, 'model.onnx')))).toBe(true);
  });

  it('is trained by sterna lab train, which tells its perplexity', async () => {
    const config = await configOf({ steps: 2 });
    const file = join(temporaryFolder(), 'lab.yaml');
    await writeFile(file, JSON.stringify(config));
    const { code, out } = await captureCli(['lab', 'train', file, '-o', temporaryFolder()]);
    expect([code, out]).toEqual([0, expect.stringMatching(/perplexity \d+\.\d+ on the end of the text/) as string]);
  });

  it.each<[string, Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>, string, RegExp]>([
    ['a student of another kind', { model: { student: { width: 1 } } }, {}, 'E_USAGE', /expected kind: transformer for data of kind text/],
    ['heads that do not divide the width', { model: { student: { ...student, heads: 3 } } }, {}, 'E_USAGE', /expected a multiple of the 3 heads but received 16/],
    ['a text that is too short', {}, { context: 400 }, 'E_LAB', /judged on has 180 characters; expected more than the context of 400/],
    ['no text', {}, { file: '/nowhere/text.txt' }, 'E_FILE', /\/nowhere\/text.txt cannot be read/],
  ])('is refused with %s', async (_, more, data, code, message) => {
    await expect(runText(await configOf(more, data), temporaryFolder())).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  });

  it('does not learn from clips, nor do the students of clips from text', async () => {
    await expect(runLab(await configOf(), temporaryFolder())).rejects.toMatchObject({ code: 'E_USAGE', message: 'data.kind: expected clips but received text' });
    expect(() => parseLabConfig(JSON.stringify({ model: { student }, data: { kind: 'text', folder: 'x' } }), 'lab.yaml')).toThrow(expect.objectContaining({ code: 'E_USAGE' }) as Error);
  });
});
