import { narrowOfWire } from '../onnx/tensor-data.js';
import type { OnnxGraph, OnnxNode } from '../onnx/types.js';
import type { Attribute } from './attributes.js';
import { scalar, type NarrowType, type TensorValue } from './tensor-value.js';
import { UniqueNames } from './unique-names.js';

// Whole numbers of 16 bits are held as int32. What an operator makes beyond 16 bits is taken back to them where it arises, so that they wrap as in any
// other engine. Which values are such numbers follows from the file: the types of inputs, constants and casts, and what operators make of them.

/** Operators whose results have the type of an operand: which one. */
const followed: Readonly<Record<string, number>> = {
  ...Object.fromEntries([
    'Abs', 'Add', 'BitShift', 'BitwiseAnd', 'BitwiseNot', 'BitwiseOr', 'BitwiseXor', 'CenterCropPad', 'Clip', 'Col2Im', 'Concat', 'ConcatFromSequence', 'CumSum', 'DepthToSpace',
    'Div', 'Einsum', 'EyeLike', 'Expand', 'Flatten', 'Gather', 'GatherElements', 'GatherND', 'Gemm', 'Identity', 'MatMul', 'Max', 'MaxPool', 'Min', 'Mod', 'Mul', 'Neg', 'Optional',
    'OptionalGetElement', 'PRelu', 'Pad', 'Pow', 'Range', 'ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSum',
    'ReduceSumSquare', 'Relu', 'Reshape', 'Resize', 'ReverseSequence', 'Scatter', 'ScatterElements', 'ScatterND', 'SequenceAt', 'SequenceConstruct', 'SequenceErase', 'SequenceInsert',
    'Sign', 'Slice', 'SpaceToDepth', 'Split', 'SplitToSequence', 'Squeeze', 'Sub', 'Sum', 'TensorScatter', 'Tile', 'TopK', 'Transpose', 'Trilu', 'Unique', 'Unsqueeze', 'Upsample',
  ].map((op) => [op, 0])),
  CastLike: 1, Compress: 0, OneHot: 2, QuantizeLinear: 2, Where: 1,
};

/** Of these the first output only has the type; the others are indices. */
const onlyFirst = new Set(['MaxPool', 'TopK', 'Unique']);

/** What may make more than 16 bits of 16. */
const widening = new Set([
  'Abs', 'Add', 'BitwiseNot', 'Cast', 'CastLike', 'CumSum', 'Div', 'Einsum', 'Gemm', 'MatMul', 'Mul', 'Neg', 'Pow', 'ReduceL1', 'ReduceL2', 'ReduceLogSum',
  'ReduceLogSumExp', 'ReduceProd', 'ReduceSum', 'ReduceSumSquare', 'Scatter', 'ScatterElements', 'ScatterND', 'Sub', 'Sum',
]);

type Types = ReadonlyMap<string, NarrowType>;

const intOf = (node: OnnxNode, name: string): number | undefined => {
  const attribute = node.attributes.get(name);
  return attribute?.type === 'int' ? attribute.value : undefined;
};

/** The type that an attribute states: of a Cast, of what makes numbers of nothing, of what quantizes. */
function stated(node: OnnxNode): NarrowType | undefined {
  const value = node.attributes.get('value');
  if ((node.op === 'ConstantOfShape' || node.op === 'Constant') && value?.type === 'tensor') return value.value.narrow;
  const name = { Cast: 'to', QuantizeLinear: 'output_dtype' }[node.op] ?? 'dtype';
  return narrowOfWire(intOf(node, name) ?? 0);
}

const states = (node: OnnxNode): boolean => node.op === 'Cast' || (intOf(node, 'dtype') ?? 0) !== 0;

/** Rewrites one graph and those of its nodes. */
class NarrowGraph {
  readonly nodes: OnnxNode[] = [];
  readonly constants: Map<string, TensorValue>;
  readonly types: Map<string, NarrowType>;
  /** Names of the constants that were added, by their value. */
  private readonly added = new Map<number, string>();

  constructor(private readonly graph: OnnxGraph, outer: Types, private readonly names: UniqueNames) {
    this.constants = new Map(graph.initializers);
    const own = [...graph.inputs, ...graph.valueInfo, ...graph.outputs].flatMap(({ name, narrow }) => (narrow === undefined ? [] : [[name, narrow] as const]));
    const stored = [...graph.initializers].flatMap(([name, { narrow }]) => (narrow === undefined ? [] : [[name, narrow] as const]));
    this.types = new Map([...outer, ...own, ...stored]);
  }

  finish(): OnnxGraph {
    // Nodes need not be sorted yet.
    for (let known = -1; known < this.types.size;) {
      known = this.types.size;
      for (const node of this.graph.nodes) this.note(node);
    }
    for (const node of this.graph.nodes) this.add(node);
    return { ...this.graph, nodes: this.nodes, initializers: this.constants };
  }

  /** The type of 16 bits that a node's results have. */
  private note(node: OnnxNode): NarrowType | undefined {
    if (node.domain !== '') return undefined;
    const type = stated(node) ?? (states(node) ? undefined : this.types.get(node.inputs[followed[node.op] ?? -1] ?? ''));
    if (type !== undefined) for (const name of onlyFirst.has(node.op) ? node.outputs.slice(0, 1) : node.outputs) this.types.set(name, type);
    return type;
  }

  private add(given: OnnxNode): void {
    const node = this.withGraphs(given);
    const type = this.note(node);
    const [output, ...others] = node.outputs;
    if (type === undefined || output === undefined || others.length > 0 || !widening.has(node.op)) this.nodes.push(node);
    else this.addWrapped(node, output, type);
  }

  /** Modulo 2^16: of uint16 from 0 on, of int16 from -2^15 on. */
  private addWrapped(node: OnnxNode, output: string, type: NarrowType): void {
    const wide = this.names.fresh(`${output}.wide`);
    this.nodes.push({ ...node, outputs: [wide] });
    const operation = (op: string, x: string, operand: number, to: string): string => {
      this.nodes.push({ name: this.names.fresh(node.name), op, domain: '', inputs: [x, this.constant(operand)], outputs: [to], attributes: new Map() });
      return to;
    };
    if (type === 'uint16') operation('Mod', wide, 2 ** 16, output);
    else {
      const shifted = operation('Add', wide, 2 ** 15, this.names.fresh(`${output}.shifted`));
      operation('Sub', operation('Mod', shifted, 2 ** 16, this.names.fresh(`${output}.rest`)), 2 ** 15, output);
    }
  }

  private constant(value: number): string {
    const name = this.added.get(value) ?? this.names.fresh(`narrow.${value}`);
    this.added.set(value, name);
    this.constants.set(name, scalar('int32', value));
    return name;
  }

  /** Bodies and branches read the values around them; what they are fed has the type of the node's operands, and so have the node's results. */
  private withGraphs(node: OnnxNode): OnnxNode {
    if (![...node.attributes.values()].some(({ type }) => type === 'graph')) return node;
    const attributes = new Map([...node.attributes].map(([name, attribute]): [string, Attribute] => {
      if (attribute.type !== 'graph') return [name, attribute];
      const body = attribute.value;
      const fed = body.inputs.flatMap(({ name: inner }, i) => {
        const type = this.types.get(node.inputs[i] ?? '');
        return type === undefined ? [] : [[inner, type] as const];
      });
      const inside = new NarrowGraph(body, new Map([...this.types, ...fed]), this.names);
      const value = inside.finish();
      // A Loop's first output is whether to go on.
      const results = value.outputs.slice(node.op === 'Loop' ? 1 : 0);
      results.forEach((result, i) => {
        const [output, type] = [node.outputs[i], inside.types.get(result.name)];
        if (output !== undefined && type !== undefined) this.types.set(output, type);
      });
      return [name, { type: 'graph', value }];
    }));
    return { ...node, attributes };
  }
}

/** Names of the values of a graph and of those within. */
function* namesOf(graph: OnnxGraph): Generator<string> {
  yield* graph.initializers.keys();
  for (const { name } of graph.inputs) yield name;
  for (const node of graph.nodes) {
    yield node.name;
    yield* node.outputs;
    for (const attribute of node.attributes.values()) if (attribute.type === 'graph') yield* namesOf(attribute.value);
  }
}

/** Whether a graph, or one within, has numbers of 16 bits. */
function hasNarrow({ nodes, inputs, outputs, valueInfo, initializers }: OnnxGraph): boolean {
  for (const values of [inputs, outputs, valueInfo, initializers.values()]) for (const { narrow } of values) if (narrow !== undefined) return true;
  return nodes.some((node) => stated(node) !== undefined || [...node.attributes.values()].some((attribute) => attribute.type === 'graph' && hasNarrow(attribute.value)));
}

/** The graph with arithmetic of int16 and uint16 that wraps at 16 bits; the same graph where it has no such numbers. */
export const withNarrowArithmetic = (graph: OnnxGraph): OnnxGraph => (hasNarrow(graph) ? new NarrowGraph(graph, new Map(), new UniqueNames(namesOf(graph))).finish() : graph);
