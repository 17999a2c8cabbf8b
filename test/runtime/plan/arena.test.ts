import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arenaAlignment, layOut, type Block } from '../../../runtime/plan/arena.js';
import { overlaps } from '../../../runtime/plan/liveness.js';

const blocks = fc.array(
  fc.record({ bytes: fc.integer({ min: 1, max: 5000 }), first: fc.nat(30), length: fc.nat(8) }).map(({ bytes, first, length }): Block => ({ bytes, life: { first, last: first + length } })),
  { maxLength: 40 },
);
const align = (bytes: number) => Math.ceil(bytes / arenaAlignment) * arenaAlignment;

describe('the arena', () => {
  it('never lets blocks overlap that live at the same time', () => {
    fc.assert(
      fc.property(blocks, (list) => {
        const { offsets, bytes } = layOut(list);
        list.forEach((a, i) => {
          const start = offsets[i] ?? 0;
          expect(start % arenaAlignment).toBe(0);
          expect(start + a.bytes).toBeLessThanOrEqual(bytes);
          list.slice(i + 1).forEach((b, j) => {
            const other = offsets[i + 1 + j] ?? 0;
            if (overlaps(a.life, b.life)) expect(start + a.bytes <= other || other + b.bytes <= start).toBe(true);
          });
        });
      }),
    );
  });

  it('is at least as large as what lives at any moment, and not larger than everything together', () => {
    fc.assert(
      fc.property(blocks, (list) => {
        const { bytes } = layOut(list);
        const at = (step: number) => list.filter(({ life }) => life.first <= step && step <= life.last).reduce((sum, block) => sum + align(block.bytes), 0);
        expect(bytes).toBeGreaterThanOrEqual(Math.max(0, ...Array.from({ length: 40 }, (_, step) => at(step))));
        expect(bytes).toBeLessThanOrEqual(list.reduce((sum, block) => sum + align(block.bytes), 0));
      }),
    );
  });

  it('shares memory between blocks that do not meet', () => {
    const chain = Array.from({ length: 10 }, (_, i): Block => ({ bytes: 1000, life: { first: i, last: i + 1 } }));
    expect(layOut(chain).bytes).toBe(2 * align(1000));
  });

  it('puts a block into the smallest hole that fits', () => {
    const list: Block[] = [
      { bytes: 640, life: { first: 0, last: 1 } }, { bytes: 320, life: { first: 0, last: 3 } }, { bytes: 128, life: { first: 2, last: 3 } }, { bytes: 256, life: { first: 0, last: 3 } },
    ];
    const { offsets, bytes } = layOut(list);
    expect(bytes).toBe(640 + 320 + 256);
    expect(offsets[2]).toBeLessThan(640);
  });
});
