import { Expander } from '../../../runtime/expand/expander.js';
import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { elementCount, fromNumbers, toNumbers, type TensorValue, type ValueType } from '../../../runtime/graph/tensor-value.js';
import { random } from '../support/random.js';

/** Runs `work` while new arrays of single precision have double precision: the reference of the operators computes in numbers and stores in such arrays. */
export function inDoubles<T>(work: () => T): T {
  const single = globalThis.Float32Array;
  globalThis.Float32Array = Float64Array as unknown as typeof Float32Array;
  try {
    return work();
  } finally {
    globalThis.Float32Array = single;
  }
}

const doubled = (value: TensorValue): TensorValue => (value.dtype === 'float32' ? fromNumbers('float32', value.dims, Float64Array.from(toNumbers(value))) : value);

/** Values of a graph, computed in double precision with the reference of each operator. */
export const evaluate = (graph: Graph, feeds: ReadonlyMap<string, TensorValue>, wanted: readonly string[]): TensorValue[] => inDoubles(() => evaluateNow(graph, feeds, wanted));

function evaluateNow(graph: Graph, feeds: ReadonlyMap<string, TensorValue>, wanted: readonly string[]): TensorValue[] {
  const constants = new Map([...graph.constants, ...feeds].map(([name, value]) => [name, doubled(value)]));
  const run = new Expander({ ...graph, inputs: graph.inputs.filter((name) => !feeds.has(name)), constants, limits: { nodes: 1e6, tensorElements: 2 ** 28, rank: 8, constantElements: 2 ** 30, foldSteps: 1e12 } }, { eager: true });
  for (const node of graph.nodes) run.add(node);
  return wanted.map((name) => {
    const value = run.value(name);
    if (value === undefined) throw new Error(`no value ${name}`);
    return value;
  });
}

/** The graph with a loss where it has outputs of floats: the sum of all float outputs, each element times a random number. */
export function withLoss(graph: Graph, typeOf: (value: string) => ValueType): Graph {
  const next = random(77);
  const constants = new Map(graph.constants);
  const types = new Map(graph.types);
  const nodes: Node[] = [...graph.nodes];
  const emit = (op: string, inputs: readonly string[], output: string, type: ValueType): string => {
    nodes.push({ name: output, op, inputs, outputs: [output], attributes: op === 'ReduceSum' ? new Map([['keepdims', { type: 'int', value: 0 }]]) : new Map() });
    types.set(output, type);
    return output;
  };
  const scalarType: ValueType = { dtype: 'float32', shape: [] };
  const parts = graph.outputs.filter((output) => typeOf(output).dtype === 'float32').map((output) => {
    const { shape } = typeOf(output);
    constants.set(`${output}.weight`, fromNumbers('float32', shape, Float64Array.from({ length: elementCount(shape) }, () => next() - 0.3)));
    return emit('ReduceSum', [emit('Mul', [output, `${output}.weight`], `${output}.weighted`, typeOf(output))], `${output}.part`, scalarType);
  });
  if (parts.length === 0) return graph;
  const loss = parts.reduce((sum, part, i) => (i === 0 ? part : emit('Add', [sum, part], `loss.${i}`, scalarType)), '');
  emit('Identity', [loss], 'loss', scalarType);
  return { ...graph, nodes, constants, types };
}

export interface Check {
  readonly value: string;
  /** Derivative along a random direction: of the gradient graph, and of central differences. */
  readonly gradient: number;
  readonly difference: number;
}

/** Compares the gradient by each value with central differences along random directions. */
export function checkGradients(graph: Graph, differentiated: { graph: Graph; gradients: ReadonlyMap<string, string> }, feeds: ReadonlyMap<string, TensorValue>): Check[] {
  const names = [...differentiated.gradients.keys()];
  const gradients = evaluate(differentiated.graph, feeds, [...differentiated.gradients.values()]);
  const next = random(5);
  return names.flatMap((value, at) => {
    const given = feeds.get(value) ?? graph.constants.get(value);
    if (given === undefined) return [];
    const numbers = Float64Array.from(toNumbers(given));
    return [0].map((): Check => {
      const direction = numbers.map(() => next() - 0.5);
      const h = 1e-5;
      const lossAt = (sign: number): number => {
        const moved = inDoubles(() => fromNumbers('float32', given.dims, numbers.map((x, i) => x + sign * h * (direction[i] ?? 0))));
        const constants = new Map(graph.constants);
        const fed = new Map(feeds);
        if (feeds.has(value)) fed.set(value, moved);
        else constants.set(value, moved);
        return Number(evaluate({ ...graph, constants }, fed, ['loss'])[0]?.data[0]);
      };
      const gradient = Array.from(gradients[at]?.data ?? [], Number).reduce((sum, g, i) => sum + g * (direction[i] ?? 0), 0);
      return { value, gradient, difference: (lossAt(1) - lossAt(-1)) / (2 * h) };
    });
  });
}
