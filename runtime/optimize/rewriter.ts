import { int, type Attribute } from '../graph/attributes.js';
import { GraphEditor } from '../graph/editor.js';
import type { Node } from '../graph/graph.js';
import { outputOf } from '../graph/operands.js';
import type { ValueType } from '../graph/tensor-value.js';
import { checkedType } from '../ops/op.js';
import { operatorOf } from '../ops/registry.js';

export interface Emission {
  name: string;
  op: string;
  inputs: readonly string[];
  attributes?: Readonly<Record<string, Attribute>>;
}

/** A GraphEditor that infers the types of what it adds. */
export class Rewriter extends GraphEditor {
  private typesOf(node: Node): ValueType[] {
    const inputs = node.inputs.map((name) => (name === '' ? undefined : this.type(name)));
    const constants = node.inputs.map((name) => this.constant(name));
    return operatorOf(node).infer({ node, opset: this.opset, inputs, constants }).map((type) => checkedType(node, type, this.limits));
  }

  /** Adds a node that makes a new value, and returns the value's name. */
  emit(spec: Emission): string {
    const output = this.fresh(spec.name);
    this.emitTo(output, spec);
    return output;
  }

  /** The parts one after the other along an axis; the part itself where there is only one. */
  concatenate(name: string, parts: readonly string[], axis: number): string {
    const [first, ...rest] = parts;
    return first !== undefined && rest.length === 0 ? first : this.emit({ name, op: 'Concat', inputs: parts, attributes: { axis: int(axis) } });
  }

  /** Adds a node that makes `output`, which nothing makes now. */
  emitTo(output: string, spec: Emission): Node {
    const node = this.add({ ...spec, outputs: [output] });
    const [type] = this.typesOf(node);
    if (type !== undefined) this.setType(output, type);
    return node;
  }

  /** Replaces a node of one output by others; `last` makes the output, under the old node's name. */
  substitute(node: Node, last: Omit<Emission, 'name'>): void {
    this.remove(node);
    this.emitTo(outputOf(node), { ...last, name: node.name });
  }
}
