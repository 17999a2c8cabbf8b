import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('../..', import.meta.url).pathname;
const self = 'test/scripts/spelling.test.ts';

/** Words that the field, ONNX first, writes with z. Ordinary words (colour, otherwise, promise) are none of our business. */
const stems = [
  'quant', 'optim', 'normal', 'equal', 'canonical', 'synchron', 'recogn', 'summar', 'special', 'author', 'vector', 'factor', 'binar', 'serial', 'initial', 'minim', 'maxim',
  'organ', 'token', 'util', 'custom', 'priorit', 'categor', 'character', 'general', 'memor', 'random', 'stabil', 'standard', 'visual', 'real', 'local', 'parallel', 'regular',
  'digit', 'linear', 'discret', 'global', 'final', 'anonym', 'penal', 'emphas', 'symbol', 'neutral', 'material', 'harmon', 'rational',
];
const british = new RegExp(`(?:${stems.join('|')})is(?:e[drs]?|ers|ing|ations?|able)(?![a-z])`, 'gi');
/** In names written in capitals or in camel case, the next word begins with a capital. */
const misspelt = (text: string): string[] =>
  [...text.replace(/([a-z])(?=[A-Z])/g, '$1 ').matchAll(british)].map(([word]) => word);

describe('the spelling of names', () => {
  it.each(['quantiseModel', 'onQuantiseProgress', 'runtime/optimise/a.ts', 'clock_synchronised', 'E_UNAUTHORISED', 'normalisation', 'insertQuantisation'])('refuses %s', (name) => {
    expect(misspelt(name)).toHaveLength(1);
  });

  it.each(['quantizeModel', 'otherwise', 'promises', 'millisecond', 'depthwise', 'normalizedSets', 'precise', 'comprises', 'exercise', 'specialist'])('accepts %s', (name) => {
    expect(misspelt(name)).toEqual([]);
  });

  it('is -ize in every file name, identifier, message and document', () => {
    const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0').filter((path) => path !== '' && path !== self && path !== 'package-lock.json');
    const found = files.flatMap((path) => {
      const text = /\.(?:ts|m?js|css|html|json|md|yml|yaml|h|cpp|c|cmake|txt|sh|service)$/.test(path) ? readFileSync(join(root, path), 'utf8') : '';
      return [...misspelt(path), ...misspelt(text)].map((word) => `${path}: ${word}`);
    });
    expect(found).toEqual([]);
  });
});
