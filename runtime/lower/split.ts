import { RuntimeError } from '../errors.js';
import { consumersOf, producersOf, typeOf, type Graph, type Node } from '../graph/graph.js';
import { outputOf } from '../graph/operands.js';
import { isByte } from '../graph/tensor-value.js';
import { binaryQ8, convQ8, convQ8F32, poolQ8 } from '../ops/views.js';

/** Operators of the lowered graph that end a layer: their outputs are feature maps. */
const layerOperators = new Set(['ConvQ8', 'BinaryQ8', 'PoolQ8', 'LutQ8', 'NhwcConv', 'BinaryF32', 'NhwcPool', 'Unary']);

/** A place where a program can be cut: what the layers up to it compute is enough to go on from. */
export interface SplitPoint {
  /** Name of the node, as `inspect` lists it. */
  readonly name: string;
  /** Its output. */
  readonly value: string;
  /** The value that stands for 0 in it; 0 for float. */
  readonly zeroPoint: number;
}

/** The zero-point that readers of the value subtract; undefined when none of them does. */
function zeroPointOf(value: string, readers: readonly Node[]): number | undefined {
  for (const node of readers) {
    if (node.op === 'ConvQ8') {
      const { x, epilogue } = convQ8(node);
      return x === value ? epilogue.xZp : epilogue.resZp;
    }
    if (node.op === 'ConvQ8F32') return convQ8F32(node).xZp;
    if (node.op === 'BinaryQ8') {
      const { a, arithmetic } = binaryQ8(node);
      return a === value ? arithmetic.aZp : arithmetic.bZp;
    }
    if (node.op === 'PoolQ8') return poolQ8(node).arithmetic.xZp;
  }
  return undefined;
}

/** Every place where the program of this (optimized) graph can be cut, in the order of the program. */
export function splitPoints(graph: Graph): SplitPoint[] {
  const readers = consumersOf(graph.nodes);
  const seen = new Set<string>();
  return graph.nodes.flatMap((node) => {
    const { name, op } = node;
    if (!layerOperators.has(op) || seen.has(name)) return [];
    const value = outputOf(node);
    const { dtype, shape } = typeOf(graph, value);
    const map = shape.length === 4 && shape[0] === 1;
    const zeroPoint = isByte(dtype) ? zeroPointOf(value, readers.get(value) ?? []) : dtype === 'float32' ? 0 : undefined;
    if (!map || zeroPoint === undefined || graph.outputs.includes(value)) return [];
    seen.add(name);
    return [{ name, value, zeroPoint }];
  });
}

/** The nodes that a value is computed by. */
export function nodesBehind(producers: ReadonlyMap<string, Node>, value: string): Set<Node> {
  const behind = new Set<Node>();
  const open = [value];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const node = producers.get(next);
    if (node === undefined || behind.has(node)) continue;
    behind.add(node);
    open.push(...node.inputs);
  }
  return behind;
}

/**
 * The graph with the nodes behind that place first, and its value as one more output, the last: it stays in memory as a whole,
 * and everything else that crosses the cut stays where the nodes put it.
 * @throws RuntimeError E_INPUT when the graph has no such place
 */
export function cutAt(graph: Graph, name: string): { graph: Graph; point: SplitPoint; prefix: number } {
  const points = splitPoints(graph);
  const point = points.find((candidate) => candidate.name === name);
  if (point === undefined) {
    const names = points.map((candidate) => candidate.name);
    const some = names.length > 12 ? `${names.slice(0, 12).join(', ')} and ${names.length - 12} more` : names.join(', ');
    throw new RuntimeError('E_INPUT', `Expected a layer with a feature map for split but received "${name}"; the model can be split after ${some || 'none of its layers'}`, { details: { split: name } });
  }
  const behind = nodesBehind(producersOf(graph.nodes), point.value);
  const nodes = [...graph.nodes.filter((node) => behind.has(node)), ...graph.nodes.filter((node) => !behind.has(node))];
  return { graph: { ...graph, nodes, outputs: [...graph.outputs, point.value] }, point, prefix: behind.size };
}
