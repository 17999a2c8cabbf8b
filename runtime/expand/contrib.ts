import { floatAttribute, intAttribute, stringAttribute, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { type AttributeRecord, type Builder, type Expansion, input, Notation } from './builder.js';
import { rms, swish } from './elementwise.js';

// Operators that onnxruntime's optimizer writes into the models that it saves, domain com.microsoft.

const without = (node: Node, ...names: string[]): AttributeRecord => Object.fromEntries([...node.attributes].filter(([name]) => !names.includes(name)));

/** The tanh form, as FastGelu has it. */
function geluTanh(m: Notation, x: string): string {
  const cube = m.mul(m.mul(x, x), x);
  const inner = m.scale(m.add(x, m.scale(cube, 0.044715)), Math.sqrt(2 / Math.PI));
  return m.mul(m.scale(x, 0.5), m.add(m.op('Tanh', inner), m.number(1)));
}

export function gelu(m: Notation, x: string): string {
  return m.mul(m.scale(x, 0.5), m.add(m.op('Erf', m.scale(x, Math.SQRT1_2)), m.number(1)));
}

/** The function that a fused operator applies to its result. */
function activated(b: Builder, node: Node, y: string): string {
  const m = new Notation(b);
  const parameters = node.attributes.get('activation_params');
  const [alpha, beta] = parameters?.type === 'floats' ? parameters.value : [];
  const float = (name: string, value: number | undefined): AttributeRecord => (value === undefined ? {} : { [name]: { type: 'float', value } });
  const name = stringAttribute(node, 'activation', '');
  switch (name) {
    case '': return y;
    case 'Relu': case 'Tanh': case 'Sigmoid': return m.op(name, y);
    case 'LeakyRelu': return b.emit(name, [y], float('alpha', alpha));
    case 'HardSigmoid': return b.emit(name, [y], { ...float('alpha', alpha), ...float('beta', beta) });
    case 'Clip': return m.clip(y, alpha ?? -Infinity, beta ?? Infinity);
    case 'HardSwish': return m.mul(y, m.clip(m.add(m.scale(y, 1 / 6), m.number(0.5)), 0, 1));
    case 'Gelu': return gelu(m, y);
    case 'QuickGelu': return swish(b, y, alpha ?? 1.702);
    default: throw unsupported(node, `unknown function ${name}`, 'activation');
  }
}

/** Conv, a sum with a fourth operand, and a function. */
const fusedConv: Expansion = (b, node) => {
  const convolved = b.emit('Conv', [input(node), input(node, 1), ...(input(node, 2) === '' ? [] : [input(node, 2)])], without(node, 'activation', 'activation_params'));
  const sum = input(node, 3) === '' ? convolved : new Notation(b).add(convolved, input(node, 3));
  return [activated(b, node, sum)];
};

const fusedGemm: Expansion = (b, node) => {
  const y = b.emit('Gemm', node.inputs.filter((name) => name !== ''), without(node, 'activation', 'activation_alpha', 'activation_beta', 'activation_gamma'));
  const name = stringAttribute(node, 'activation', '');
  const float = (key: string, attribute: string): AttributeRecord => (node.attributes.has(attribute) ? { [key]: { type: 'float', value: floatAttribute(node, attribute, 0) } } : {});
  return [name === '' ? y : b.emit(name, [y], { ...float('alpha', 'activation_alpha'), ...float('beta', 'activation_beta'), ...float('gamma', 'activation_gamma') })];
};

/** alpha * A' B', of which the last two axes may be exchanged, and the first be moved to the end of the batch. */
export const fusedMatMul: Expansion = (b, node) => {
  const m = new Notation(b);
  const arranged = (value: string, transpose: boolean, batch: boolean): string => {
    const rank = m.shape(value).length;
    let perm = Array.from({ length: rank }, (_, i) => i);
    // [rows, batch .., columns] as [batch .., rows, columns]
    if (batch) perm = [...perm.slice(1, -1), 0, rank - 1];
    const [last = 0, before = 0] = [perm[rank - 1], perm[rank - 2]];
    if (transpose && rank > 1) perm = [...perm.slice(0, -2), last, before];
    return m.transpose(value, perm);
  };
  const flag = (name: string) => intAttribute(node, name, 0) !== 0;
  const [a, c] = [arranged(input(node), flag('transA'), flag('transBatchA')), arranged(input(node, 1), flag('transB'), flag('transBatchB'))];
  return [m.scale(m.op('MatMul', a, c), floatAttribute(node, 'alpha', 1))];
};

const quickGelu: Expansion = (b, node) => [swish(b, input(node), floatAttribute(node, 'alpha', 1.702))];

export function layerNormalization(b: Builder, x: string, scale: string, bias: string, epsilon: number): string {
  const m = new Notation(b);
  const axis = m.shape(x).length - 1;
  if (b.opset >= 17) {
    return b.emit('LayerNormalization', bias === '' ? [x, scale] : [x, scale, bias], { axis: { type: 'int', value: -1 }, epsilon: { type: 'float', value: epsilon } });
  }
  const centred = m.sub(x, m.reduce('ReduceMean', x, [axis]));
  const deviation = m.op('Sqrt', m.add(m.reduce('ReduceMean', m.mul(centred, centred), [axis]), m.number(epsilon)));
  const y = m.mul(m.div(centred, deviation), scale);
  return bias === '' ? y : m.add(y, bias);
}

/** The sum of two (and a bias) normalized; the fourth output is the sum. */
const skipLayerNormalization = (simplified: boolean): Expansion => (b, node) => {
  const m = new Notation(b);
  const [x, skip, scale] = [input(node), input(node, 1), input(node, 2)];
  const [shift, bias] = simplified ? ['', input(node, 3)] : [input(node, 3), input(node, 4)];
  const plain = m.add(x, skip);
  const sum = bias === '' ? plain : m.add(plain, bias);
  const epsilon = floatAttribute(node, 'epsilon', 1e-12);
  const y = simplified ? m.mul(m.mul(sum, rms(m, sum, m.shape(sum).length - 1, epsilon)), scale) : layerNormalization(b, sum, scale, shift, epsilon);
  return [y, '', '', sum];
};

const simplifiedLayerNormalization: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const rank = m.shape(x).length;
  const axis = intAttribute(node, 'axis', -1);
  const inverse = rms(m, x, axis < 0 ? axis + rank : axis, floatAttribute(node, 'epsilon', 1e-5));
  return [m.mul(m.mul(x, inverse), input(node, 1)), inverse];
};

/** [N, H, W, C] as the operator between two transposes, which the passes take out again. */
const channelsLast = (op: string): Expansion => (b, node) => {
  const m = new Notation(b);
  const rank = m.shape(input(node)).length;
  const [first, last] = [[0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)], [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1]];
  const [x, rest] = [input(node), node.inputs.slice(1)];
  // A sum that a convolution takes in is a map as well.
  const operands = rest.map((name, i) => (op.endsWith('Conv') && i === 2 && name !== '' ? m.transpose(name, first) : name));
  return [m.transpose(b.emit(op, [m.transpose(x, first), ...operands], Object.fromEntries(node.attributes)), last)];
};

export const contrib: Readonly<Record<string, Expansion>> = {
  FusedConv: fusedConv, FusedGemm: fusedGemm, FusedMatMul: fusedMatMul, QuickGelu: quickGelu,
  BiasGelu: (b, node) => {
    const m = new Notation(b);
    return [gelu(m, m.add(input(node), input(node, 1)))];
  },
  FastGelu: (b, node) => {
    const m = new Notation(b);
    return [geluTanh(m, input(node, 1) === '' ? input(node) : m.add(input(node), input(node, 1)))];
  },
  SkipLayerNormalization: skipLayerNormalization(false), SkipSimplifiedLayerNormalization: skipLayerNormalization(true),
  NhwcFusedConv: channelsLast('com.microsoft.FusedConv'), NhwcConv: channelsLast('Conv'), NhwcMaxPool: channelsLast('MaxPool'),
};

/** What onnxruntime puts into ai.onnx itself. */
export const unofficial: Readonly<Record<string, Expansion>> = { SimplifiedLayerNormalization: simplifiedLayerNormalization };
