import { describe, expect, it } from 'vitest';
import { uniform } from '../../../deploy/compress/random.js';
import { agreementOf, toInt8 } from '../../../deploy/sound/int8.js';
import { startOf } from '../../../deploy/sound/recipe.js';
import { edgeNodes, patch, studentModel } from '../../../deploy/sound/student.js';
import { createSession } from '../../../runtime/session.js';
import { mobile, teacherOf } from './small-teacher.js';

const classes = 3;
const random = uniform(21);
const feeds = Array.from({ length: 24 }, () => ({ patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data: Float32Array.from({ length: patch.rows * patch.bands }, () => 6 * random() - 5) } }));

async function scoresOf(model: Uint8Array): Promise<Float32Array[]> {
  const session = await createSession(model);
  const found: Float32Array[] = [];
  for (const feed of feeds) found.push(Float32Array.from((await session.run(feed))['scores']?.data ?? [], Number));
  await session.close();
  return found;
}

describe('the student in int8', () => {
  it('keeps the convolution that reads the features and the head in float, and the float answers', async () => {
    const { shape, from = {} } = startOf(teacherOf(mobile), classes, { init: 'teacher', parameters: 200_000, distill: 0 });
    for (const name of ['classes', 'classes-max']) from[name]?.data.forEach((_, i, weights) => { weights[i] = 4 * (random() - 0.5); });
    const net = shape.net ?? { pools: [] };
    const float = studentModel(from, shape, { kind: 'cross-entropy' });
    const { model, report } = await toInt8(float, feeds.slice(0, 12), net);
    const formats = new Map(report.layers.map(({ name, format }) => [name, format]));
    expect(edgeNodes(net)).toEqual(['conv0', 'logits', 'logits-0', 'logits-part1']);
    for (const name of edgeNodes(net)) expect(formats.get(name), name).toBe('float32');
    expect(['conv1', 'conv2', 'conv3', 'conv4'].map((name) => formats.get(name))).toEqual(Array(4).fill('int8'));
    const { cosine } = agreementOf(await scoresOf(float), await scoresOf(model));
    expect(cosine).toBeGreaterThan(0.99);
  });

  it('names the nodes of heads over one pool and over three', () => {
    expect(edgeNodes({ pools: ['mean'] })).toEqual(['conv0', 'logits']);
    expect(edgeNodes({ pools: ['mean', 'max', 'mean'] })).toEqual(['conv0', 'logits', 'logits-0', 'logits-part1', 'logits-1', 'logits-part2']);
  });
});

describe('the agreement of two students', () => {
  it('is 1 of equal answers, and tells classes from how sure they are', () => {
    const sure = [Float32Array.of(0.98, 0.01, 0.01), Float32Array.of(0.1, 0.8, 0.1)];
    expect(agreementOf(sure, sure)).toEqual({ classes: 1, cosine: expect.closeTo(1, 6) as number });
    const milder = [Float32Array.of(0.5, 0.25, 0.25), Float32Array.of(0.3, 0.4, 0.3)];
    expect(agreementOf(sure, milder)).toEqual({ classes: 1, cosine: expect.closeTo(1, 6) as number });
    expect(agreementOf(sure, [Float32Array.of(0.01, 0.98, 0.01), Float32Array.of(0.1, 0.8, 0.1)])).toEqual({ classes: 0.5, cosine: expect.closeTo(0.25, 6) as number });
  });
});
