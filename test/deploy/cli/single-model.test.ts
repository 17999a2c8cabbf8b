import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FrameLine } from '../../../deploy/run/run.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { openPackage } from '../../../runtime/package/index.js';
import { captureCli } from './capture.js';
import { boxesModel, meansModel } from './single-model.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const box = [[0.25, 0, 0.75, 0.5]];
const red = { r: 240, g: 20, b: 20 };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-single-'));
  const picture = (background: typeof red, name: string): Promise<unknown> => sharp({ create: { width: 64, height: 64, channels: 3, background } }).png().toFile(at(name));
  await picture(red, 'red.png');
  await picture({ r: 20, g: 20, b: 240 }, 'blue.png');
  await writeFile(at('Fixed_Boxes.onnx'), boxesModel(box));
  await writeFile(at('open.onnx'), boxesModel(box, ['N', 3, 'height', 'width']));
  await writeFile(at('two.onnx'), boxesModel([[0, 0, 0, 0], [0, 0, 0, 0]]));
  await writeFile(at('classes.onnx'), meansModel(3));
  await writeFile(at('vector.onnx'), meansModel(64));
  await writeFile(at('colours.txt'), 'red\ngreen\nblue\n');
  await writeFile(at('anchors.json'), JSON.stringify([[0.5, 0.5, 0.5, 0.25], [0.25, 0.25, 0.25, 0.25]]));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Ran {
  code: number;
  err: string;
  findings: FrameLine['findings'];
}

async function run(model: string, ...argv: string[]): Promise<Ran> {
  const { code, out, err } = await captureCli(['run', at(model), '--input', at('red.png'), ...argv]);
  const [line = ''] = out.split('\n');
  return { code, err, findings: line.startsWith('{"type":"frame"') ? (JSON.parse(line) as FrameLine).findings : [] };
}

const redBox = { type: 'detection', box: [16, 0, 32, 32], score: expect.closeTo(1 / (1 + Math.exp(-240 / 255)), 3) as number };

describe('what compress and compare assume of pictures', () => {
  it.each(['Fixed_Boxes.onnx', 'classes.onnx', 'vector.onnx'])('is what run assumes of %s', async (model) => {
    const { err } = await run(model);
    const stated = ['channels', 'mean', 'std', 'fit'].map((name) => new RegExp(`assumed (--${name} \\S+)`).exec(err)?.[1] ?? name);
    const commands = [['compress', at(model), '-o', at('small.onnx'), '--calibrate', at('red.png'), '--engine', 'native'], ['compare', at(model), '--against', 'native', '--inputs', at('red.png')]];
    for (const argv of commands) {
      expect((await captureCli(argv)).err).toContain(`sterna: assumed ${stated.join(' ')}\n`);
      expect((await captureCli([...argv, ...stated.flatMap((option) => option.split(' '))])).err).not.toContain('assumed');
    }
  });
});

describe('a picture of which run takes the middle', () => {
  it('maps boxes back to where they are', async () => {
    await sharp({ create: { width: 128, height: 64, channels: 3, background: red } }).png().toFile(at('wide.png'));
    const { out } = await captureCli(['run', at('Fixed_Boxes.onnx'), '--input', at('wide.png'), '--fit', 'crop']);
    expect((JSON.parse(out.split('\n')[0] ?? '') as FrameLine).findings).toEqual([{ ...redBox, box: [48, 0, 32, 32], label: 'class 0' }]);
  });
});

describe('sterna run of a model with open dimensions', () => {
  const needed = "sterna: E_OPTION: The model leaves dimensions of input 'x' [N, 3, height, width] open; set them, for example with --shape x=1x3x320x320, or --symbol height=320 --symbol width=320\n";

  it('asks for sizes, with an example', async () => {
    expect(await run('open.onnx')).toMatchObject({ code: 2, err: needed });
  });

  it.each([[['--symbol', 'height=8', '--symbol', 'width=8'], ', with a batch of 1'], [['--shape', 'x=1x3x8x8'], '']])('takes %j, and says what it took', async (argv, why) => {
    const { code, err, findings } = await run('open.onnx', ...argv);
    expect(code).toBe(0);
    expect(err).toContain(`sterna: input 'x' [N, 3, height, width] is taken as 1x3x8x8${why}\n`);
    expect(findings).toEqual([{ ...redBox, label: 'class 0' }]);
  });

  it('follows what it finds through pictures that are a sequence, when it is told to', async () => {
    const folder = at('sequence');
    await mkdir(folder);
    for (const name of ['1.png', '2.png', '3.png']) await copyFile(at('red.png'), join(folder, name));
    const ran = async (...argv: string[]): Promise<FrameLine['findings'][]> => {
      const { out } = await captureCli(['run', at('Fixed_Boxes.onnx'), '--input', folder, '--no-motion', '--track', ...argv]);
      return out.split('\n').filter((line) => line.startsWith('{"type":"frame"')).map((line) => (JSON.parse(line) as FrameLine).findings);
    };
    const [first, , third] = await ran('--fps', '10');
    expect(first).toEqual([{ ...redBox, label: 'class 0', track: 1 }]);
    expect(third).toMatchObject([{ type: 'track', track: 1, status: 'seen', age_ms: 200, velocity: [0, 0] }]);
    expect(await ran()).toEqual(new Array(3).fill([{ ...redBox, label: 'class 0' }]));
  });

  it('refuses sizes for a package', async () => {
    expect(await run('none.sterna', '--symbol', 'height=8')).toMatchObject({ code: 2, err: expect.stringContaining('--symbol with an .onnx model') as string });
  });
});

describe('sterna run of models of other kinds', () => {
  it('classifies, with the names of --labels', async () => {
    const { err, findings } = await run('classes.onnx', '--labels', at('colours.txt'), '--mean', '0', '--std', '255');
    expect(err).toMatch(/assumed --kind classification[^]*assumed --channels rgb[^]*assumed --fit stretch[^]*assumed --score 0\.1/);
    expect(err).not.toMatch(/assumed --(labels|mean|std)/);
    // The softmax of 240, 20 and 20 of 255.
    const [most, least] = [Math.exp(240 / 255), Math.exp(20 / 255)];
    expect(findings[0]).toEqual({ type: 'class', label: 'red', score: expect.closeTo(most / (most + 2 * least), 2) as number });
    const swapped = await run('classes.onnx', '--labels', at('colours.txt'), '--channels', 'bgr');
    expect(swapped.findings[0]?.label).toBe('blue');
  });

  it('names the enrolled picture that a frame resembles, with an embedder', async () => {
    const people = ['--enrol', `warm=${at('red.png')}`, '--enrol', `cold=${at('blue.png')}`];
    const { err, findings } = await run('vector.onnx', ...people);
    expect(err).toMatch(/assumed --kind embedding[^]*assumed --score 0\.42/);
    expect(findings).toEqual([{ type: 'class', label: 'warm', score: 1 }]);
    expect((await run('vector.onnx')).findings).toEqual([]);
    expect((await run('vector.onnx', '--kind', 'classification', '--score', '0')).findings[0]?.label).toBe('class 0');
  });

  it('refuses options of detectors', async () => {
    expect(await run('classes.onnx', '--keypoints', '5')).toMatchObject({ code: 2, err: expect.stringContaining('Expected --keypoints with a detector, but the model is taken as classification') as string });
  });

  it('reads SSD heads over the anchors of a file', async () => {
    const { err, findings } = await run('two.onnx', '--anchors', at('anchors.json'), '--decoder', 'ssd', '--score', '0');
    expect(err).not.toContain('E_');
    expect(findings.map((finding) => finding.box)).toContainEqual([24, 16, 16, 32]);
  });
});

describe('sterna package of a single model', () => {
  it('packs what run recognizes: the package finds the same', async () => {
    const options = ['--labels', at('colours.txt'), '--iou', '0.3'];
    const { code, err } = await captureCli(['package', at('Fixed_Boxes.onnx'), ...options, '-o', at('boxes.sterna')]);
    expect([code, err]).toEqual([0, expect.stringMatching(/assumed --decoder boxes[^]*assumed --name fixed-boxes\n[^]*assumed --package-version 1\.0\.0\n/) as string]);
    expect(err).not.toMatch(/assumed --(labels|iou|output)/);
    const { manifest } = await openPackage(at('boxes.sterna'));
    expect(manifest).toMatchObject({ name: 'fixed-boxes', version: '1.0.0', pipeline: { kind: 'detection', settings: { labels: ['red', 'green', 'blue'], detector: { suppression: { iou_threshold: 0.3 } } } } });
    const packed = await run('boxes.sterna');
    expect(packed.findings).toEqual([{ ...redBox, label: 'red' }]);
    expect(packed.findings).toEqual((await run('Fixed_Boxes.onnx', ...options)).findings);
  });

  it('fixes open sizes, and takes --settings over what was recognized', async () => {
    await writeFile(at('settings.json'), JSON.stringify({ settings: { detector: { score_threshold: 0.99 } } }));
    const argv = ['package', at('open.onnx'), '--name', 'fixed', '--package-version', '2.0.0', '-o', at('fixed.sterna')];
    expect((await captureCli(argv)).code).toBe(2);
    expect((await captureCli([...argv, '--shape', 'x=1x3x8x8', '--settings', at('settings.json')])).code).toBe(0);
    const { manifest, file } = await openPackage(at('fixed.sterna'));
    expect(manifest.pipeline).toMatchObject({ settings: { detector: { fit: 'letterbox', pad: 114, score_threshold: 0.99 } } });
    expect(parseModel(file('models/detector.onnx')).graph.inputs[0]?.dims).toEqual([1, 3, 8, 8]);
    expect((await run('fixed.sterna')).findings).toEqual([]);
  });

  it('quantizes on pictures, with the options of the model', async () => {
    const { code, err } = await captureCli(['package', at('classes.onnx'), '--calibrate', at('red.png'), '--labels', at('colours.txt'), '-o', at('classes.sterna')]);
    expect([code, err]).toEqual([0, expect.stringContaining('assumed --kind classification') as string]);
    expect((await run('classes.sterna')).findings[0]?.label).toBe('red');
    expect((await readFile(at('classes.sterna'))).length).toBeGreaterThan(0);
  });

  it.each([
    ['a stage beside it', ['--detector', 'x.onnx'], 'Expected a model as the argument or by stage'],
    ['a kind of several models', ['--kind', 'face-recognition'], 'Expected --kind detection, classification, embedding for a single model but received face-recognition'],
  ])('refuses %s', async (_, argv, message) => {
    const { code, err } = await captureCli(['package', at('Fixed_Boxes.onnx'), ...argv, '-o', at('x.sterna')]);
    expect([code, err]).toEqual([2, expect.stringContaining(message) as string]);
  });

  it('asks for names, and refuses options of a model, where models are given by stage', async () => {
    const stages = ['package', '--kind', 'detection', '--detector', at('Fixed_Boxes.onnx')];
    expect(await captureCli(stages)).toMatchObject({ code: 2, err: expect.stringContaining('Expected --name, --package-version and --output') as string });
    expect(await captureCli([...stages, '--score', '0.5'])).toMatchObject({ code: 2, err: expect.stringContaining('Expected --score with a model as the argument') as string });
  });
});
