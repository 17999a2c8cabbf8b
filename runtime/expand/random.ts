import { hasAttribute, int, intAttribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { type AttributeRecord, type Builder, type Expansion, input, Notation } from './builder.js';

/** Numbers in [0, 1) of the shape of x, from the node's own seed where it has one. */
function uniformLike(b: Builder, node: Node, x: string): string {
  const seed = node.attributes.get('seed');
  const attributes: AttributeRecord = { dtype: int(1), ...(seed === undefined ? {} : { seed }) };
  return b.emit('RandomUniformLike', [x], attributes);
}

/** 1 with the probability that each element states. */
const bernoulli: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const hit = m.op('Less', uniformLike(b, node, x), m.cast(x, 'float32'));
  return [b.emit('Cast', [hit], { to: int(hasAttribute(node, 'dtype') ? intAttribute(node, 'dtype', 1) : 1) })];
};

/** In training, elements become 0 with the probability `ratio`, and the others grow so that the mean stays. */
const dropout: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, ratio, training] = [input(node), b.known(input(node, 1)), b.known(input(node, 2))];
  const share = input(node, 1) === '' ? 0.5 : ratio === undefined ? undefined : Number(ratio.data[0]);
  // What is not known yet, the operator's own record asks for.
  if (training === undefined || Number(training.data[0]) === 0 || share === undefined || !(share > 0 && share < 1)) return undefined;
  const kept = m.op('GreaterOrEqual', uniformLike(b, node, x), m.number(share));
  return [m.scale(m.mul(x, m.cast(kept, 'float32')), 1 / (1 - share)), kept];
};

export const randoms: Readonly<Record<string, Expansion>> = { Bernoulli: bernoulli, Dropout: dropout };
