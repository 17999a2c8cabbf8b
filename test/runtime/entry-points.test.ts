/** What the library's functions say to a wrong path, a file of another kind, and an option that does not exist. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SternaError } from '../../kernels/binding/errors.js';
import {
  compile, createPipeline, createSession, decodeImage, encodeJpeg, enrolPictures, inspectModel, openPackage, openSource, quantizeModel, selfTest,
  type Gallery, type ModelPackage, type Pipeline,
} from '../../runtime/index.js';
import { temporaryFolder } from '../support/folder.js';
import { modelBytes, node } from './support/models.js';

const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n';
const relu = modelBytes({ inputs: { x: [1, 4] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] });
// What the types forbid, and a JavaScript caller writes.
const options = (value: object): object => value;

async function failure(act: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await act();
  } catch (error) {
    if (error instanceof SternaError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('Expected an error but there was none');
}

const readers: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  createSession: (path) => createSession(path),
  'createSession on onnxruntime': (path) => createSession(path, { engine: 'onnxruntime' }),
  inspectModel: (path) => inspectModel(path),
  quantizeModel: (path) => quantizeModel(path, []),
};

describe.each(Object.entries(readers))('%s', (_, read) => {
  it('says that there is no such file, and where it looked', async () => {
    expect(await failure(() => read('nowhere.onnx'))).toMatchObject({ code: 'E_MODEL_FILE', message: expect.stringContaining(`there is no file ${join(process.cwd(), 'nowhere.onnx')}`) as string });
  });

  it('names a folder, and the models in it', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'face.onnx'), relu);
    expect(await failure(() => read(folder))).toMatchObject({ code: 'E_MODEL_FILE', message: expect.stringMatching(/is a folder.*face\.onnx/) as string });
  });

  it.each([
    ['an empty file', '', 'it is empty'],
    ['a Git LFS pointer', pointer, 'git lfs pull'],
    ['a web page', '<!DOCTYPE html><html></html>', 'it is a web page'],
    ['a TensorFlow Lite model', '\x1c\0\0\0TFL3\x14', 'convert it to ONNX'],
    ['a tar archive', `${'manifest.json'.padEnd(257, '\0')}ustar\0`, 'openPackage'],
    ['a ZIP archive', 'PK\x03\x04', 'export the model to ONNX'],
  ])('names %s', async (_name, content, told) => {
    const path = join(temporaryFolder(), 'model.onnx');
    writeFileSync(path, content);
    expect(await failure(() => read(path))).toMatchObject({ code: 'E_MODEL_FILE', message: expect.stringContaining(told) as string });
  });
});

describe('bytes of another kind', () => {
  it.each([['native'], ['onnxruntime']] as const)('are named by a session on %s, which has no path to name', async (engine) => {
    expect(await failure(() => createSession(Buffer.from(pointer), { engine }))).toMatchObject({ code: 'E_MODEL_MALFORMED', message: expect.stringContaining('git lfs pull') as string });
  });

  it('of no kind at all are refused', async () => {
    expect(await failure(() => createSession(new ArrayBuffer(8) as unknown as Uint8Array))).toMatchObject({ code: 'E_OPTION', message: expect.stringContaining('received ArrayBuffer') as string });
  });

  it('are named by openPackage and decodeImage', async () => {
    const path = join(temporaryFolder(), 'door.sterna');
    writeFileSync(path, pointer);
    expect(await failure(() => openPackage(path))).toMatchObject({ code: 'E_PACKAGE', message: expect.stringMatching(/door\.sterna is not a package.*git lfs pull/) as string });
    expect(await failure(() => decodeImage(Buffer.from(pointer), 'a.jpg'))).toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('git lfs pull') as string });
  });

  it('a folder in place of a package is named', async () => {
    const folder = join(temporaryFolder(), 'door.sterna');
    mkdirSync(folder);
    expect(await failure(() => openPackage(folder))).toMatchObject({ code: 'E_PACKAGE', message: expect.stringContaining('is a folder') as string });
  });
});

describe('an option that does not exist', () => {
  const model = { manifest: {}, file: () => relu } as unknown as ModelPackage;
  const image = { width: 1, height: 1, data: new Uint8Array(3) };
  const calls: readonly [string, string, string, () => unknown][] = [
    ['createSession', 'thread', 'threads', () => createSession(relu, options({ thread: 2 }))],
    ['createSession', 'maxBlockingMS', 'maxBlockingMs', () => createSession(relu, options({ maxBlockingMS: 2 }))],
    ['cache of createSession', 'maxbyte', 'maxBytes', () => createSession(relu, { cache: { dir: 'x', ...options({ maxbyte: 2 }) } })],
    ['limits of createSession', 'node', 'nodes', () => createSession(relu, { limits: options({ node: 2 }) })],
    ['pixels.x of createSession', 'means', 'mean', () => createSession(relu, { pixels: { x: { mean: [0], std: [1], ...options({ means: 2 }) } } })],
    ['inspectModel', 'symbol', 'symbols', () => inspectModel(relu, options({ symbol: {} }))],
    ['compile', 'strip', 'strips', () => compile(relu, options({ strip: false }))],
    ['quantizeModel', 'maxdrop', 'maxDrop', () => quantizeModel(relu, [], options({ maxdrop: 1 }))],
    ['openSource', 'maxside', 'maxSide', () => openSource('.', options({ maxside: 1 }))],
    ['encodeJpeg', 'qualty', 'quality', () => encodeJpeg(image, options({ qualty: 1 }))],
    ['createPipeline', 'matchTreshold', 'matchThreshold', () => createPipeline(model, options({ matchTreshold: 1 }))],
    ['selfTest', 'round', 'rounds', () => selfTest(model, options({ round: 1 }))],
    ['enrolPictures', 'minscore', 'minScore', () => enrolPictures({} as Pipeline, {} as Gallery, 'a', [], options({ minscore: 1 }))],
  ];
  it.each(calls)('of %s: "%s" is named with "%s"', async (where, name, nearest, act) => {
    expect(await failure(act)).toMatchObject({ code: 'E_OPTION', message: expect.stringContaining(`${where} has no option "${name}"; did you mean "${nearest}"?`) as string });
  });

  it('and is like none that does: all are listed', async () => {
    expect((await failure(() => createSession(relu, options({ gpu: true })))).message).toMatch(/has no option "gpu"\. Its options are engine, threads, /);
  });
});

describe('the value of an option', () => {
  it.each([
    [{ engine: 'cuda' }, 'Expected one of native, onnxruntime for the option "engine" of createSession but received "cuda"'],
    [{ threads: '2' }, 'Expected a number for the option "threads" of createSession but received "2"'],
    [{ cache: 'folder' }, 'Expected an object for the option "cache" of createSession but received "folder"'],
  ])('of another type is refused: %j', async (wrong, message) => {
    expect(await failure(() => createSession(relu, options(wrong)))).toEqual({ code: 'E_OPTION', message });
  });

  it('undefined counts as absent', async () => {
    const session = await createSession(relu, options({ threads: undefined, engine: undefined }));
    await session.close();
  });
});
