import { syncBuiltinESMExports } from 'node:module';
import workerThreads from 'node:worker_threads';
import { beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../../runtime/lower/compile.js';
import type { compileApart as CompileApart } from '../../../runtime/lower/compile-apart.js';
import { modelBytes, node, randomTensor } from '../support/models.js';

/** A model that is large enough for a thread of its own. */
const model = modelBytes({ inputs: { x: [1, 16, 8, 8] }, constants: { w: randomTensor([64, 16, 3, 3], 1) }, nodes: [node('Conv', ['x', 'w'], ['y']), node('Relu', ['y'], ['z'])], outputs: ['z'] });

// The built module is loaded: there is no thread for sources that a test runner transforms.
const built = new URL('../../../dist/runtime/lower/compile-apart.js', import.meta.url).href;

let started = 0;
let compileApart: typeof CompileApart;

beforeAll(async () => {
  const { Worker } = workerThreads;
  class Counted extends Worker {
    constructor(...given: ConstructorParameters<typeof Worker>) {
      super(...given);
      started++;
    }
  }
  workerThreads.Worker = Counted;
  syncBuiltinESMExports();
  ({ compileApart } = (await import(built)) as { compileApart: typeof CompileApart });
  return () => {
    workerThreads.Worker = Worker;
    syncBuiltinESMExports();
  };
});

describe('the thread that compiles', () => {
  it('writes the program that compiling in place writes, and leaves the bytes of the model as they are', async () => {
    const given = new Uint8Array(model);
    const { bytes } = await compileApart(given, {});
    expect(Buffer.from(bytes).equals(compile(model).bytes)).toBe(true);
    expect(Buffer.from(given).equals(model)).toBe(true);
  });

  it('takes bytes that threads share', async () => {
    const given = new Uint8Array(new SharedArrayBuffer(model.length));
    given.set(model);
    expect(Buffer.from((await compileApart(given, {})).bytes).equals(compile(model).bytes)).toBe(true);
  });

  it('is the same for models that are opened one after the other, and one for each where they are opened at once', async () => {
    // The thread of a test before may end at any time when a machine is slow: of twenty models, some follow each other quickly.
    const before = started;
    for (let i = 0; i < 20; i++) await compileApart(model, {});
    expect(started - before).toBeLessThan(20);
    const alone = started;
    await Promise.all([1, 2, 3].map(() => compileApart(model, {})));
    expect(started - alone).toBeGreaterThanOrEqual(2);
  });

  it('gives the next model another thread when a request cannot be sent', async () => {
    await expect(compileApart(model, { shapes: { x: (() => undefined) as never } })).rejects.toThrow(/could not be cloned/);
    expect((await compileApart(model, {})).bytes.length).toBeGreaterThan(0);
  });

  it('answers with the error of the compiler, and works on', async () => {
    await expect(compileApart(model, { shapes: { x: [1, 3, 8, 8] } })).rejects.toMatchObject({ code: 'E_OPTION' });
    expect((await compileApart(model, {})).bytes.length).toBeGreaterThan(0);
  });
});
