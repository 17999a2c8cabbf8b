import { expect, it } from 'vitest';
import { warningTexts } from '../../../deploy/compress/warnings.js';
import type { QuantizeWarning } from '../../../runtime/quantize/report/warnings.js';

it('writes out four warnings of a kind, and says how many more there are', () => {
  const many: QuantizeWarning[] = Array.from({ length: 7 }, (_, i) => ({ kind: 'dead_weights', message: `layer ${i}`, layer: String(i) }));
  const texts = warningTexts([{ kind: 'ternary', message: 'little is left' }, ...many, { kind: 'unseen_channels', message: 'channel 3' }]);
  expect(texts).toEqual(['little is left', 'layer 0', 'layer 1', 'layer 2', 'layer 3', expect.stringContaining('(dead_weights) applies to 3 more layers') as string, 'channel 3']);
  expect(warningTexts(many.slice(0, 4))).toHaveLength(4);
});
