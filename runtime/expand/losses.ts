import { hasAttribute, int, intAttribute, oneOf } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount } from '../graph/tensor-value.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';

// Losses, which exporters of training graphs leave in: a row of classes for every place, and the class that is wanted there.

const reductions = ['none', 'sum', 'mean'] as const;

/** x [N, C, ...] as rows [N * places, C]. */
function rowsOf(m: Notation, x: string): string {
  const [n = 1, classes = 1, ...places] = m.shape(x);
  const count = elementCount(places);
  return m.reshape(m.transpose(m.reshape(x, [n, classes, count]), [0, 2, 1]), [n * count, classes]);
}

/** -weight[target] * rows[target], reduced as the node says; places of `ignore_index` weigh nothing. */
function likelihoodLoss(b: Builder, node: Node, rows: string, weights: string): string {
  const m = new Notation(b);
  const target = input(node, 1);
  const shape = m.shape(target);
  const count = elementCount(shape);
  const wanted = m.cast(m.reshape(target, [count]), 'int64');
  const ignored = hasAttribute(node, 'ignore_index') ? m.op('Equal', wanted, m.number(intAttribute(node, 'ignore_index', 0), 'int64')) : undefined;
  const classes = ignored === undefined ? wanted : m.where(ignored, m.number(0, 'int64'), wanted);
  const chosen = m.reshape(b.emit('GatherElements', [rows, m.reshape(classes, [count, 1])], { axis: int(1) }), [count]);
  const given = weights === '' ? m.expand(m.number(1), [count]) : m.gather(weights, classes, 0);
  const weight = ignored === undefined ? given : m.where(ignored, m.number(0), given);
  const loss = m.mul(m.op('Neg', chosen), weight);
  const reduction = oneOf(node, 'reduction', reductions, 'mean');
  if (reduction === 'none') return m.reshape(loss, shape);
  const total = m.reduce('ReduceSum', loss, [0], false);
  return reduction === 'sum' ? total : m.div(total, m.reduce('ReduceSum', weight, [0], false));
}

const negativeLogLikelihood: Expansion = (b, node) => [likelihoodLoss(b, node, rowsOf(new Notation(b), input(node)), input(node, 2))];

const softmaxCrossEntropy: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const [n = 1, classes = 1, ...places] = m.shape(x);
  const logits = b.emit('LogSoftmax', [rowsOf(m, x)], { axis: int(1) });
  const loss = likelihoodLoss(b, node, logits, input(node, 2));
  const back = m.transpose(m.reshape(logits, [n, elementCount(places), classes]), [0, 2, 1]);
  return [loss, m.reshape(back, [n, classes, ...places])];
};

export const losses: Readonly<Record<string, Expansion>> = { NegativeLogLikelihoodLoss: negativeLogLikelihood, SoftmaxCrossEntropyLoss: softmaxCrossEntropy };
