import { floatAttribute, intAttribute, intsAttribute, int, string, stringAttribute, floatsAttribute, hasAttribute, type Attribute } from './attributes.js';
import { GraphEditor } from './editor.js';
import { constantOf, typeOf, type Graph, type Node } from './graph.js';
import { float32s, int64s, scalar, type TensorValue } from './tensor-value.js';
import { RuntimeError } from '../errors.js';
import { hasOperand, operand, optionalOperand } from './operands.js';

/** First operator set with DequantizeLinear along an axis, which per-channel weights need. */
export const qdqOpset = 13;

/** First operator set whose DequantizeLinear takes codes of 4 bits. */
export const int4Opset = 21;

/** Makes the error for a node that has no equivalent, with the code of who asks for it. */
type Refuse = (node: Node, problem: string, attribute?: string) => RuntimeError;

/** Operands that used to be attributes, and the attributes that remain. */
interface NewForm {
  op?: string;
  operands: readonly (TensorValue | undefined)[];
  drop: readonly string[];
  set?: Readonly<Record<string, Attribute>>;
}

const optionalInts = (node: Node, name: string): TensorValue | undefined => {
  const value = intsAttribute(node, name);
  return value === undefined ? undefined : int64s(value);
};
const optionalFloat = (node: Node, name: string): TensorValue | undefined =>
  hasAttribute(node, name) ? scalar('float32', floatAttribute(node, name, 0)) : undefined;

const repeated = ({ dims: [groups = 1], data }: TensorValue, channels: number): TensorValue => float32s(Float32Array.from({ length: channels }, (_, c) => Number(data[Math.floor((c * groups) / channels)])));

/** Resize and Upsample before 11 mapped output x to input floor(x / scale). */
const oldCoordinates = { coordinate_transformation_mode: string('asymmetric'), nearest_mode: string('floor') };

/** Before 13 softmax flattened everything from `axis` on; on the last axis that is what it does now. */
function softmaxForm(graph: Graph, node: Node, refuse: Refuse): NewForm {
  const rank = typeOf(graph, operand(node, 0)).shape.length;
  const axis = intAttribute(node, 'axis', 1);
  if ((axis + rank) % rank !== rank - 1) {
    throw refuse(node, `flattens its axes ${axis}.. as operator sets before 13 do; convert the model to operator set 13`, 'axis');
  }
  return { operands: [], drop: [], set: { axis: int(axis) } };
}

/** The form of a node in operator set 13 when it differs from the form in `graph.opset`, which is an earlier one. */
function formOf13(graph: Graph, node: Node, refuse: Refuse): NewForm | undefined {
  const old = graph.opset;
  switch (node.op) {
    case 'Squeeze': case 'Unsqueeze': case 'ReduceSum':
      return { operands: [optionalInts(node, 'axes')], drop: ['axes'] };
    case 'Split':
      return { operands: [optionalInts(node, 'split')], drop: ['split'] };
    case 'Softmax': case 'LogSoftmax': case 'Hardmax':
      return softmaxForm(graph, node, refuse);
    case 'Slice': {
      if (old >= 10) return undefined;
      const operands = ['starts', 'ends', 'axes'].map((name) => optionalInts(node, name));
      return { operands, drop: ['starts', 'ends', 'axes'] };
    }
    case 'Clip':
      return old >= 11 ? undefined : { operands: [optionalFloat(node, 'min'), optionalFloat(node, 'max')], drop: ['min', 'max'] };
    case 'Pad':
      return old >= 11 ? undefined : { operands: [optionalInts(node, 'pads'), optionalFloat(node, 'value')], drop: ['pads', 'value'] };
    case 'Upsample': case 'Resize':
      return old >= 11 ? undefined : resizeForm(graph, node, refuse);
    default:
      return undefined;
  }
}

/** GroupNormalization had one scale a group before 21, and has one a channel since. */
function groupNormalizationForm(graph: Graph, node: Node, refuse: Refuse): NewForm {
  const channels = typeOf(graph, operand(node, 0)).shape[1] ?? 1;
  const operands = node.inputs.slice(1).map((input) => {
    const value = graph.constants.get(input);
    if (value !== undefined) return repeated(value, channels);
    throw refuse(node, 'computes its scale or bias; convert the model to operator set 21');
  });
  return { operands, drop: [] };
}

/** The form of a node in operator set 21 when it differs from the form in `graph.opset`, which is 13 or later. */
function formOf21(graph: Graph, node: Node, refuse: Refuse): NewForm | undefined {
  if (node.op === 'GroupNormalization') return groupNormalizationForm(graph, node, refuse);
  if (graph.opset >= 18) return undefined;
  switch (node.op) {
    case 'ReduceMean': case 'ReduceMax': case 'ReduceMin': case 'ReduceProd': case 'ReduceL1': case 'ReduceL2': case 'ReduceLogSum': case 'ReduceLogSumExp': case 'ReduceSumSquare':
      return { operands: [optionalInts(node, 'axes')], drop: ['axes'] };
    case 'Split':
      return !hasOperand(node, 1) ? { operands: [], drop: [], set: { num_outputs: int(node.outputs.length) } } : undefined;
    default:
      return undefined;
  }
}

/** Upsample 7 has an attribute `scales`, Upsample 9 and Resize 10 an operand; Resize 11 put a region of interest before it. */
function resizeForm(graph: Graph, node: Node, refuse: Refuse): NewForm {
  const attribute = floatsAttribute(node, 'scales');
  const scales = attribute === undefined ? constantOf(graph, optionalOperand(node, 1)) : float32s(attribute);
  if (scales === undefined) throw refuse(node, 'computes its scales; convert the model to operator set 13');
  const mode = stringAttribute(node, 'mode', 'nearest');
  return { op: 'Resize', operands: [float32s([]), scales], drop: ['scales'], set: { ...oldCoordinates, mode: string(mode) } };
}

/**
 * The graph in operator set 13 or 21 (or its own, if later): attributes that became operands are moved.
 * @param graph inferred, constants folded
 * @throws RuntimeError with that code, naming a node that has no equivalent
 */
export function raiseOpset(graph: Graph, code: 'E_QUANTIZE' | 'E_MODEL_OP', opset: typeof qdqOpset | typeof int4Opset = qdqOpset): Graph {
  const refuse: Refuse = (node, problem, attribute) => new RuntimeError(code, `${node.op} '${node.name}' ${problem}`, {
    details: { node: node.name, op: node.op, ...(attribute === undefined ? {} : { attribute }) },
  });
  const basic = graph.opset >= qdqOpset ? graph : rewritten(graph, qdqOpset, (node) => formOf13(graph, node, refuse));
  return basic.opset >= opset ? basic : rewritten(basic, opset, (node) => formOf21(basic, node, refuse));
}

function rewritten(graph: Graph, opset: number, newForm: (node: Node) => NewForm | undefined): Graph {
  const editor = new GraphEditor(graph);
  for (const node of graph.nodes) {
    const form = newForm(node);
    if (form === undefined) continue;
    const attributes = new Map(node.attributes);
    for (const name of form.drop) attributes.delete(name);
    for (const [name, value] of Object.entries(form.set ?? {})) attributes.set(name, value);
    const added = form.operands.map((value, i) => (value === undefined ? '' : editor.addConstant(`${node.outputs[0] ?? node.name}_operand${i + 1}`, value)));
    while (added.at(-1) === '') added.pop();
    editor.replace(node, { op: form.op ?? node.op, inputs: [operand(node, 0), ...added], attributes });
  }
  return { ...editor.finish(), opset };
}
