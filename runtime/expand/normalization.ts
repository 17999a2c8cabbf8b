import { floatAttribute, intAttribute } from '../graph/attributes.js';
import { type Expansion, input, Notation } from './builder.js';

/** BatchNormalization in training mode: by the statistics of the batch, which also move the running ones. */
const trainedBatchNorm: Expansion = (b, node) => {
  if (intAttribute(node, 'training_mode', 0) === 0) return undefined;
  const m = new Notation(b);
  const x = input(node);
  const shape = m.shape(x);
  const axes = shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]));
  const along = (value: string): string => m.reshape(value, shape.map((dim, axis) => (axis === 1 ? dim : 1)));
  const mean = m.reduce('ReduceMean', x, axes);
  const centred = m.sub(x, mean);
  const variance = m.reduce('ReduceMean', m.mul(centred, centred), axes);
  const deviation = m.op('Sqrt', m.add(variance, m.number(floatAttribute(node, 'epsilon', 1e-5))));
  const y = m.add(m.mul(m.div(centred, deviation), along(input(node, 1))), along(input(node, 2)));
  const momentum = floatAttribute(node, 'momentum', 0.9);
  const mixed = (running: string, batch: string): string => m.add(m.scale(running, momentum), m.scale(m.reshape(batch, m.shape(running)), 1 - momentum));
  return [y, mixed(input(node, 3), mean), mixed(input(node, 4), variance)];
};

export const normalizations: Readonly<Record<string, Expansion>> = { BatchNormalization: trainedBatchNorm };
