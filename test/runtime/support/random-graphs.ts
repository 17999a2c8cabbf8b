import fc from 'fast-check';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, ints64, node, randomTensor, type ModelSpec } from './models.js';

/** A value under construction. */
interface Made {
  readonly name: string;
  readonly dims: readonly number[];
}

interface Growth {
  readonly nodes: OnnxNode[];
  readonly constants: Record<string, TensorValue>;
  readonly values: Made[];
}

type Step = (growth: Growth, pick: Made, other: Made, name: string) => Made | undefined;

const same = (op: string, attributes?: Parameters<typeof node>[3]): Step => ({ nodes }, { name: x, dims }, _, name) => {
  nodes.push(node(op, [x], [name], attributes));
  return { name, dims };
};

const constant = (growth: Growth, name: string, value: TensorValue): string => {
  growth.constants[name] = value;
  return name;
};

/** Ways to grow a graph of feature maps [1, C, H, W], chosen so that the passes find what they look for. */
const steps: readonly Step[] = [
  same('Relu'),
  same('Sigmoid'),
  same('LeakyRelu', { alpha: { float: 0.2 } }),
  same('Identity'),
  same('AveragePool', { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
  (growth, { name: x, dims }, _, name) => {
    const outputs = dims[1] === 3 ? 4 : 3;
    const [w, b] = [constant(growth, `${name}.w`, randomTensor([outputs, dims[1] ?? 1, 3, 3], growth.nodes.length, -0.4, 0.4)), constant(growth, `${name}.b`, randomTensor([outputs], 5))];
    growth.nodes.push(node('Conv', [x, w, b], [name], { pads: [1, 1, 1, 1] }));
    return { name, dims: [1, outputs, dims[2] ?? 1, dims[3] ?? 1] };
  },
  (growth, { name: x, dims }, _, name) => {
    const w = constant(growth, `${name}.w`, randomTensor([dims[1] ?? 1, 1, 3, 3], growth.nodes.length));
    growth.nodes.push(node('Conv', [x, w], [name], { pads: [1, 1, 1, 1], group: dims[1] ?? 1 }));
    return { name, dims };
  },
  (growth, { name: x, dims }, _, name) => {
    const parameters = ['scale', 'shift', 'mean', 'variance'].map((part, i) => constant(growth, `${name}.${part}`, randomTensor([dims[1] ?? 1], i, 0.3, 1)));
    growth.nodes.push(node('BatchNormalization', [x, ...parameters], [name]));
    return { name, dims };
  },
  (growth, { name: x, dims }, _, name) => {
    growth.nodes.push(node('PRelu', [x, constant(growth, `${name}.slope`, randomTensor([dims[1] ?? 1, 1, 1], 3))], [name]));
    return { name, dims };
  },
  (growth, { name: x, dims }, _, name) => {
    growth.nodes.push(node('Mul', [x, constant(growth, `${name}.k`, floats([1, 1, 1], 0.7))], [name]));
    return { name, dims };
  },
  (growth, a, b, name) => {
    if (a.dims.join() !== b.dims.join()) return undefined;
    growth.nodes.push(node('Add', [a.name, b.name], [name]));
    return { name, dims: a.dims };
  },
  (growth, a, b, name) => {
    const channels = (a.dims[1] ?? 0) + (b.dims[1] ?? 0);
    if (channels > 12 || a.dims[2] !== b.dims[2] || a.dims[3] !== b.dims[3]) return undefined;
    growth.nodes.push(node('Concat', [a.name, b.name], [name], { axis: 1 }));
    return { name, dims: [1, channels, a.dims[2] ?? 1, a.dims[3] ?? 1] };
  },
  (growth, { name: x, dims }, _, name) => {
    if ((dims[1] ?? 0) < 2) return undefined;
    const [start, end, axis] = [constant(growth, `${name}.s`, ints64(1)), constant(growth, `${name}.e`, ints64(1000)), constant(growth, `${name}.a`, ints64(1))];
    growth.nodes.push(node('Slice', [x, start, end, axis], [name]));
    return { name, dims: [1, (dims[1] ?? 1) - 1, dims[2] ?? 1, dims[3] ?? 1] };
  },
  ({ nodes }, { name: x, dims: [n = 1, c = 1, h = 1, w = 1] }, _, name) => {
    nodes.push(node('Transpose', [x], [`${name}.t`], { perm: [0, 2, 3, 1] }), node('Tanh', [`${name}.t`], [`${name}.u`]), node('Transpose', [`${name}.u`], [name], { perm: [0, 3, 1, 2] }));
    return { name, dims: [n, c, h, w] };
  },
  (growth, { name: x, dims: [n = 1, c = 1, h = 1, w = 1] }, _, name) => {
    const [flat, back] = [constant(growth, `${name}.flat`, ints64(n, c, h * w)), constant(growth, `${name}.back`, ints64(n, c, w, h))];
    growth.nodes.push(node('Reshape', [x, flat], [`${name}.f`]), node('Abs', [`${name}.f`], [`${name}.g`]), node('Reshape', [`${name}.g`, back], [name]));
    return { name, dims: [n, c, w, h] };
  },
];

/** Models of up to a dozen operators with branches, joins and several outputs. */
export const randomModels: fc.Arbitrary<ModelSpec> = fc
  .array(fc.tuple(fc.nat(steps.length - 1), fc.nat(), fc.nat()), { minLength: 1, maxLength: 12 })
  .map((choices) => {
    const growth: Growth = { nodes: [], constants: {}, values: [{ name: 'x', dims: [1, 3, 5, 4] }] };
    choices.forEach(([step, first, second], i) => {
      const [a, b] = [first, second].map((at) => growth.values[growth.values.length - 1 - (at % Math.min(3, growth.values.length))]);
      const made = a === undefined || b === undefined ? undefined : steps[step]?.(growth, a, b, `v${i}`);
      if (made !== undefined) growth.values.push(made);
    });
    const read = new Set(growth.nodes.flatMap(({ inputs }) => inputs));
    const outputs = growth.values.filter(({ name }) => name !== 'x' && !read.has(name)).map(({ name }) => name);
    const usable = outputs.length > 0 ? outputs : ['y'];
    const nodes = outputs.length > 0 ? growth.nodes : [...growth.nodes, node('Relu', ['x'], ['y'])];
    return { inputs: { x: [1, 3, 5, 4] }, constants: growth.constants, nodes, outputs: usable };
  });
