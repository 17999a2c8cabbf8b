import { fstatSync, readdirSync, writeSync, closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openPipe, type Pipe } from '../../../kernels/binding/pipe.js';
import { pushInto, readInto, type ByteSink } from '../../../runtime/media/byte-sink.js';

/** Items of three bytes, each in memory of its own. */
class Threes implements ByteSink<string> {
  #item = new Uint8Array(3);
  #filled = 0;
  /** How many bytes it took with each read. */
  readonly reads: number[] = [];

  room(): Uint8Array {
    return this.#item.subarray(this.#filled);
  }

  filled(count: number): readonly string[] {
    this.reads.push(count);
    this.#filled += count;
    if (this.#filled < 3) return [];
    const text = Buffer.from(this.#item).toString();
    if (text === 'bad') throw new Error('a bad item');
    [this.#item, this.#filled] = [new Uint8Array(3), 0];
    return [text];
  }
}

function pipe(): Pipe & { close: () => void } {
  const opened = openPipe(4096);
  if (opened === null) throw new Error('no pipe');
  let open = true;
  const close = (): void => { if (open) closeSync(opened.writeFd); open = false; };
  onTestFinished(close);
  return { ...opened, close };
}

const collect = async (items: AsyncIterable<string>): Promise<string[]> => {
  const all: string[] = [];
  for await (const item of items) all.push(item);
  return all;
};

describe('pushInto', () => {
  it('makes the same items however the stream is cut', () => {
    const sink = new Threes();
    expect(['a', 'bcdef', '', 'ghi', 'j'].flatMap((text) => [...pushInto(sink, Buffer.from(text))])).toEqual(['abc', 'def', 'ghi']);
  });
});

describe.skipIf(process.platform !== 'linux')('readInto', () => {
  it('gives the items of a pipe, and ends with it', async () => {
    const { readFd, writeFd, close } = pipe();
    const items = collect(readInto(readFd, new Threes()));
    for (const piece of ['ab', 'cdefg', 'hi', 'jk']) {
      writeSync(writeFd, piece);
      await sleep(5);
    }
    close();
    expect(await items).toEqual(['abc', 'def', 'ghi']);
  });

  it('reads no further before its items are taken', async () => {
    const { readFd, writeFd, close } = pipe();
    const sink = new Threes();
    const items = readInto(readFd, sink);
    writeSync(writeFd, 'abcdefghi');
    expect((await items.next()).value).toBe('abc');
    await sleep(20);
    expect(sink.reads.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(6);
    close();
    expect(await collect(items)).toEqual(['def', 'ghi']);
  });

  it('fails as the sink does, after the items before', async () => {
    const { readFd, writeFd } = pipe();
    writeSync(writeFd, 'abcbaddef');
    const items = readInto(readFd, new Threes());
    expect((await items.next()).value).toBe('abc');
    await expect(items.next()).rejects.toThrow('a bad item');
  });

  it('closes the pipe when nobody reads on', async () => {
    const { readFd, writeFd } = pipe();
    writeSync(writeFd, 'abcdef');
    for await (const item of readInto(readFd, new Threes())) {
      expect(item).toBe('abc');
      break;
    }
    for (let i = 0; i < 200 && readdirSync('/proc/self/fd').includes(String(readFd)); i++) await sleep(5);
    expect(() => fstatSync(readFd)).toThrow('EBADF');
  });
});
