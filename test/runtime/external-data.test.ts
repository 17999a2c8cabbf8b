import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readModelInput } from '../../deploy/cli/files.js';
import { loadModelBytes } from '../../runtime/model-file.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { ModelProto, type WireTensor } from '../../runtime/onnx/schema.js';

const root = mkdtempSync(join(tmpdir(), 'sterna-external-'));
const folder = join(root, 'model');
mkdirSync(join(folder, 'weights'), { recursive: true });
afterAll(() => rmSync(root, { recursive: true, force: true }));

const numbers = Float32Array.of(9, 1, -2, 3);
writeFileSync(join(folder, 'weights', 'data.bin'), new Uint8Array(numbers.buffer));
writeFileSync(join(root, 'secret.bin'), new Uint8Array(numbers.buffer));
symlinkSync(join(root, 'secret.bin'), join(folder, 'link.bin'));
symlinkSync(join(folder, 'weights', 'data.bin'), join(folder, 'inside.bin'));

let count = 0;
/** x + w, whose three numbers are in another file. */
function written(entries: Readonly<Record<string, string>>, tensor: Partial<WireTensor> = {}): string {
  const path = join(folder, `model${count++}.onnx`);
  const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
  const info = (name: string) => ({ name, type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 3 }] } } } });
  writeFileSync(path, ModelProto.encode({
    irVersion: 8, opsetImport: [{ domain: '', version: 17 }],
    graph: { name: 'g', input: [info('x')], output: [info('y')], node: [{ name: 'n', opType: 'Add', input: ['x', 'w'], output: ['y'] }], initializer: [{ name: 'w', dims: [3], dataType: 1, dataLocation: 1, externalData, ...tensor }] },
  }).finish());
  return path;
}
const weights = async (path: string, limit?: number) => Array.from(parseModel(await loadModelBytes(path, limit)).graph.initializers.get('w')?.data ?? [], Number);

describe('data of a model in files beside it', () => {
  it('are read from where the model says', async () => {
    expect(await weights(written({ location: 'weights/data.bin', offset: '4', length: '12' }))).toEqual([1, -2, 3]);
    expect(await weights(written({ location: './weights/data.bin', offset: '4' }))).toEqual([1, -2, 3]);
    expect(await weights(written({ location: 'inside.bin', length: '12' }))).toEqual([9, 1, -2]);
    const bytes = await readModelInput(written({ location: 'weights/data.bin', offset: '4' }));
    expect(parseModel(bytes).graph.initializers.get('w')?.dims).toEqual([3]);
  });

  it.each([
    ['a folder above', { location: '../secret.bin', length: '12' }, 'E_MODEL_FILE'],
    ['a folder above, through one below', { location: 'weights/../../secret.bin', length: '12' }, 'E_MODEL_FILE'],
    ['an absolute path', { location: join(root, 'secret.bin'), length: '12' }, 'E_MODEL_FILE'],
    ['a link that leads outside', { location: 'link.bin', length: '12' }, 'E_MODEL_FILE'],
    ['a folder', { location: 'weights', length: '12' }, 'E_MODEL_FILE'],
    ['a file that is not there', { location: 'none.bin' }, 'E_MODEL_FILE'],
    ['a part beyond the end', { location: 'weights/data.bin', offset: '8', length: '12' }, 'E_MODEL_FILE'],
    ['an offset beyond the end', { location: 'weights/data.bin', offset: '99' }, 'E_MODEL_FILE'],
    ['fewer bytes than the shape has', { location: 'weights/data.bin', length: '8' }, 'E_MODEL_MALFORMED'],
    ['a negative offset', { location: 'weights/data.bin', offset: '-4', length: '12' }, 'E_MODEL_MALFORMED'],
    ['a length that is no number', { location: 'weights/data.bin', length: '12abc' }, 'E_MODEL_MALFORMED'],
    ['no location', { location: '' }, 'E_MODEL_MALFORMED'],
  ])('are refused: %s', async (_, entries, code) => {
    await expect(weights(written(entries))).rejects.toMatchObject({ code });
  });

  it('count towards the limit of the model file', async () => {
    const path = written({ location: 'weights/data.bin', offset: '4' });
    const { size } = statSync(path);
    await expect(weights(path, size + 11)).rejects.toMatchObject({ code: 'E_MODEL_LIMIT' });
    expect(await weights(path, size + 12)).toEqual([1, -2, 3]);
  });

  it('are refused in a model that is given as bytes, with what to do', () => {
    expect(() => parseModel(ModelProto.encode({ irVersion: 8, opsetImport: [{ domain: '', version: 17 }], graph: { name: 'g', output: [{ name: 'w' }], initializer: [{ name: 'w', dims: [1], dataType: 1, dataLocation: 1 }] } }).finish())).toThrow(/give the path/);
  });
});
