import { RuntimeError } from '../errors.js';
import { operatorSignatures } from './operator-signatures.js';
import type { OnnxGraph, OnnxNode } from './types.js';

/** How a node of one operator may look, from one operator set on. */
interface Signature {
  since: number;
  /** Undefined: the operator no longer exists. */
  form: { inputs: Bounds; outputs: Bounds; attributes: ReadonlySet<string>; required: readonly string[] } | undefined;
}

interface Bounds {
  least: number;
  most: number;
}

function boundsOf(text: string): Bounds {
  const [least = '0', most = ''] = text.split('..');
  return { least: Number(least), most: most === '' ? Infinity : Number(most) };
}

function parseSignature(text: string): Signature {
  const [since = '', form = ''] = text.split(': ');
  if (form === 'none') return { since: Number(since), form: undefined };
  const [inputs = '', outputs = '', ...attributes] = form.split(' ');
  const required = attributes.filter((name) => name.endsWith('!')).map((name) => name.slice(0, -1));
  return { since: Number(since), form: { inputs: boundsOf(inputs), outputs: boundsOf(outputs), attributes: new Set(attributes.map((name) => name.replace('!', ''))), required } };
}

const parsed = new Map<string, readonly Signature[]>();

function signaturesOf(op: string): readonly Signature[] {
  const known = parsed.get(op);
  if (known !== undefined) return known;
  const text = Object.hasOwn(operatorSignatures, op) ? operatorSignatures[op] : undefined;
  const signatures = text === undefined ? [] : text.split('; ').map(parseSignature);
  parsed.set(op, signatures);
  return signatures;
}

const invalid = (node: OnnxNode, problem: string): RuntimeError =>
  new RuntimeError('E_MODEL_MALFORMED', `${node.op} '${node.name}': ${problem}`, { details: { node: node.name, op: node.op } });

function checkCount(node: OnnxNode, what: 'inputs' | 'outputs', { least, most }: Bounds): void {
  const names = node[what];
  if (names.length < least || names.length > most) {
    const range = least === most ? String(least) : most === Infinity ? `at least ${least}` : `${least} to ${most}`;
    throw invalid(node, `expected ${range} ${what} but received ${names.length}`);
  }
  // Absent operands have no name; an operator's first ones cannot be absent, unless they are a list.
  if (what === 'inputs' && most !== Infinity && names.slice(0, least).includes('')) throw invalid(node, `input ${names.indexOf('')} must be there but has no name`);
}

function checkNode(node: OnnxNode, opset: number): void {
  const signatures = signaturesOf(node.op);
  if (signatures.length === 0) throw new RuntimeError('E_MODEL_OP', `${node.op} '${node.name}': ONNX has no such operator`, { details: { node: node.name, op: node.op } });
  const signature = signatures.filter(({ since }) => since <= opset).at(-1);
  if (signature === undefined) throw invalid(node, `the model is of operator set ${opset}, which has no such operator: it came with operator set ${signatures[0]?.since}`);
  const { since, form } = signature;
  if (form === undefined) throw invalid(node, `the model is of operator set ${opset}, and operator set ${since} removed this operator`);
  checkCount(node, 'inputs', form.inputs);
  checkCount(node, 'outputs', form.outputs);
  const unknown = [...node.attributes.keys()].find((name) => !form.attributes.has(name));
  if (unknown !== undefined) throw invalid(node, `operator set ${opset} knows no attribute '${unknown}' of this operator`);
  const missing = form.required.find((name) => !node.attributes.has(name));
  if (missing !== undefined) throw invalid(node, `attribute '${missing}' must be there`);
}

/** onnxruntime's optimizer writes this one into ai.onnx, which does not have it. */
const unofficial = new Set(['SimplifiedLayerNormalization']);

/**
 * Holds nodes of the ai.onnx domain, those that no output depends on and those of subgraphs included, to their operator's signature in the model's
 * operator set. An attribute that an operator no longer has, a Clip's `min` for example, would be ignored in silence.
 * @throws RuntimeError E_MODEL_MALFORMED, E_MODEL_OP; details name node and op
 */
export function checkNodes(graph: OnnxGraph, opset: number): void {
  for (const node of graph.nodes) {
    if (node.domain === '' && !unofficial.has(node.op)) checkNode(node, opset);
    for (const attribute of node.attributes.values()) if (attribute.type === 'graph') checkNodes(attribute.value, opset);
  }
}
