import { misshapen, stringAttribute, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount } from '../graph/tensor-value.js';
import { Notation, type Expansion } from './builder.js';
import { operand } from '../graph/operands.js';

// Einsum as transposes, products of matrices and sums: the operands are combined from left to right.

/** A value and the label of each of its axes. */
interface Term {
  readonly value: string;
  readonly labels: readonly string[];
}

interface Equation {
  readonly terms: readonly (readonly string[])[];
  readonly output: readonly string[];
}

/** Labels of one operand. Axes that `...` stands for are counted from the last one: '.1' is before '.0'. */
function labelsOf(node: Node, text: string, rank: number | undefined): string[] {
  if (!/^[A-Za-z]*(\.\.\.)?[A-Za-z]*$/.test(text)) throw unsupported(node, `Expected letters and at most one ellipsis but received '${text}'`, 'equation');
  const [before, after] = text.split('...');
  if (before === undefined || after === undefined) return [...text];
  const hidden = (rank ?? 0) - before.length - after.length;
  return [...before, ...Array.from({ length: Math.max(0, hidden) }, (_, i) => `.${hidden - 1 - i}`), ...after];
}

function parse(node: Node, ranks: readonly number[]): Equation {
  const [left, right, ...more] = stringAttribute(node, 'equation', '').replaceAll(' ', '').split('->');
  const texts = left?.split(',') ?? [];
  if (more.length > 0 || texts.length !== ranks.length) throw unsupported(node, `Expected one term for each of ${ranks.length} operands and at most one '->'`, 'equation');
  const terms = texts.map((text, i) => labelsOf(node, text, ranks[i]));
  const wrong = terms.findIndex((labels, i) => labels.length !== ranks[i]);
  if (wrong >= 0) throw misshapen(node, `term '${texts[wrong]}' does not describe operand ${wrong} of ${ranks[wrong]} axes`);
  const all = terms.flat();
  const hidden = [...new Set(all.filter((label) => label.startsWith('.')))].sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)));
  if (right === undefined) return { terms, output: [...hidden, ...[...new Set(all)].filter((label) => !label.startsWith('.') && all.filter((each) => each === label).length === 1).sort()] };
  const output = labelsOf(node, right, right.replace('...', '').length + hidden.length);
  if (new Set(output).size !== output.length || output.some((label) => !all.includes(label))) throw unsupported(node, `the result '${right}' repeats a label or has one that no operand has`, 'equation');
  return { terms, output };
}

/** Of axes that share a label, the elements at equal positions. */
function diagonal(m: Notation, node: Node, term: Term): Term {
  const at = term.labels.findIndex((each, i) => term.labels.indexOf(each) < i);
  const label = term.labels[at];
  if (label === undefined) return term;
  const first = term.labels.indexOf(label);
  const shape = m.shape(term.value);
  const size = shape[at] ?? 1;
  if (shape[first] !== size) throw misshapen(node, `label '${label}' stands for ${shape[first]} and ${size} elements`);
  const rest = term.labels.map((_, i) => i).filter((i) => i !== first && i !== at);
  const flat = m.reshape(m.transpose(term.value, [...rest, first, at]), [...rest.map((i) => shape[i] ?? 1), size * size]);
  const value = m.gather(flat, m.ints(...Array.from({ length: size }, (_, i) => i * (size + 1))), rest.length);
  return diagonal(m, node, { value, labels: [...term.labels.filter((_, i) => rest.includes(i)), label] });
}

/** The size of every label; an axis of 1 is repeated. */
function sizesOf(m: Notation, node: Node, terms: readonly Term[]): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { value, labels } of terms) {
    const shape = m.shape(value);
    labels.forEach((label, i) => {
      const dim = shape[i] ?? 1;
      const known = sizes.get(label) ?? 1;
      if (dim !== known && dim !== 1 && known !== 1) throw misshapen(node, `label '${label}' stands for ${known} and ${dim} elements`);
      if (dim !== 1) sizes.set(label, dim);
      else if (!sizes.has(label)) sizes.set(label, 1);
    });
  }
  return sizes;
}

/** Without the axes of 1 that are repeated: what lacks an axis is the same all along it. */
function squeezed(m: Notation, { value, labels }: Term, sizes: ReadonlyMap<string, number>): Term {
  const shape = m.shape(value);
  const kept = labels.flatMap((label, i) => (shape[i] === sizes.get(label) ? [{ label, size: shape[i] ?? 1 }] : []));
  return { value: m.reshape(value, kept.map(({ size }) => size)), labels: kept.map(({ label }) => label) };
}

function summed(m: Notation, { value, labels }: Term, wanted: ReadonlySet<string>): Term {
  const axes = labels.flatMap((label, i) => (wanted.has(label) ? [] : [i]));
  return { value: m.reduce('ReduceSum', value, axes, false), labels: labels.filter((label) => wanted.has(label)) };
}

/** The axes in the order of `labels`; those that the term lacks are 1. */
function arranged(m: Notation, term: Term, labels: readonly string[]): string {
  const own = labels.filter((label) => term.labels.includes(label));
  const turned = m.transpose(term.value, own.map((label) => term.labels.indexOf(label)));
  const shape = m.shape(turned);
  return m.reshape(turned, labels.map((label) => (own.includes(label) ? (shape[own.indexOf(label)] ?? 1) : 1)));
}

/** The product of two terms, summed over the labels that nothing after it wants. */
function contracted(m: Notation, first: Term, second: Term, wanted: ReadonlySet<string>): Term {
  const a = summed(m, first, new Set([...wanted, ...second.labels]));
  const c = summed(m, second, new Set([...wanted, ...first.labels]));
  const shared = a.labels.filter((label) => c.labels.includes(label));
  const [batch, inner] = [shared.filter((label) => wanted.has(label)), shared.filter((label) => !wanted.has(label))];
  const [left, right] = [a, c].map(({ labels }) => labels.filter((label) => !shared.includes(label)));
  const labels = [...batch, ...(left ?? []), ...(right ?? [])];
  if (inner.length === 0 || m.dtype(a.value) !== 'float32') {
    const all = [...labels, ...inner];
    return summed(m, { value: m.mul(arranged(m, a, all), arranged(m, c, all)), labels: all }, new Set(labels));
  }
  const size = (term: Term, names: readonly string[]): number[] => names.map((label) => m.shape(term.value)[term.labels.indexOf(label)] ?? 1);
  const count = (term: Term, names: readonly string[] | undefined): number => elementCount(size(term, names ?? []));
  const many = batch.length === 0 ? [] : [count(a, batch)];
  const rows = m.reshape(arranged(m, a, [...batch, ...(left ?? []), ...inner]), [...many, count(a, left), count(a, inner)]);
  const columns = m.reshape(arranged(m, c, [...batch, ...inner, ...(right ?? [])]), [...many, count(c, inner), count(c, right)]);
  return { value: m.reshape(m.op('MatMul', rows, columns), [...size(a, batch), ...size(a, left ?? []), ...size(c, right ?? [])]), labels };
}

export const einsum: Expansion = (b, node) => {
  const m = new Notation(b);
  const { terms, output } = parse(node, node.inputs.map((name) => m.shape(name).length));
  const whole = terms.map((labels, i) => diagonal(m, node, { value: operand(node, i), labels }));
  const sizes = sizesOf(m, node, whole);
  const [first, ...rest] = whole.map((term) => squeezed(m, term, sizes));
  if (first === undefined) throw misshapen(node, 'Expected at least one operand but received none');
  const product = rest.reduce((term, next, i) => contracted(m, term, next, new Set([...output, ...rest.slice(i + 1).flatMap(({ labels }) => labels)])), first);
  const result = summed(m, product, new Set(output));
  return [m.transpose(result.value, output.map((label) => result.labels.indexOf(label)))];
};
