import { typeOf, type Graph, type Node } from '../../../runtime/graph/graph.js';
import { absent } from '../../../runtime/graph/operands.js';
import { Channels, fixedChannel } from './channels.js';

/** Where the channels of a value lie: the axis, and the channel at each index of it. A channel of a flattened map has several indices. */
export interface Lanes {
  readonly axis: number;
  readonly ids: readonly number[];
}

/**
 * A constant that becomes smaller with the channels along one of its axes. `makes`: the layer's own output channels. `reads`: the channels of its
 * input. `follows`: numbers for channels that pass through, as those of a depthwise convolution or a normalization.
 */
export interface Cut extends Lanes {
  readonly constant: string;
  readonly role: 'makes' | 'reads' | 'follows';
  readonly node: Node;
  readonly operand: number;
}

/** What else of a node states a number of channels: an operand with a whole shape, or the attribute `group` of a depthwise convolution. */
export type Restatement =
  | { readonly kind: 'shape'; readonly node: Node; readonly operand: number; readonly dims: readonly number[]; readonly lanes: Lanes }
  | { readonly kind: 'group'; readonly node: Node; readonly ids: readonly number[] };

/** Follows channels through a graph, node by node. */
export class Tracer {
  readonly channels = new Channels();
  readonly cuts: Cut[] = [];
  readonly restated: Restatement[] = [];
  readonly #lanes = new Map<string, Lanes>();

  constructor(readonly graph: Graph) {}

  shape(value: string): readonly number[] {
    return typeOf(this.graph, value).shape;
  }
  isConstant(value: string | undefined): value is string {
    return value !== undefined && this.graph.constants.has(value);
  }
  lanes(value: string): Lanes | undefined {
    return this.#lanes.get(value);
  }
  put(value: string | undefined, axis: number, ids: readonly number[]): void {
    if (value !== undefined && value !== absent) this.#lanes.set(value, { axis, ids });
  }
  /** All channels of a value stay. */
  fix(value: string): void {
    this.channels.fix(this.#lanes.get(value)?.ids ?? []);
  }
  /** Channels along an axis of a value. Those of a value that is not followed, or lie along another axis, stay. */
  along(value: string, axis: number): readonly number[] {
    const lanes = this.#lanes.get(value);
    if (lanes?.axis === axis) return lanes.ids;
    this.fix(value);
    return new Array<number>(this.shape(value)[axis] ?? 1).fill(fixedChannel);
  }
  cut(node: Node, operand: number, lanes: Lanes, role: Cut['role']): void {
    const constant = node.inputs[operand];
    if (!this.isConstant(constant)) return;
    // Two layers with the same weights lose the same channels.
    const other = this.cuts.find((cut) => cut.constant === constant && cut.axis === lanes.axis);
    if (other !== undefined) this.channels.joinAll(other.ids, lanes.ids);
    this.cuts.push({ constant, role, node, operand, ...lanes });
  }
  restate(restatement: Restatement): void {
    this.restated.push(restatement);
  }
  /** The channels of a node that nobody knows how to follow stay. */
  stop(node: Node): void {
    for (const input of node.inputs) this.fix(input);
  }
  /** Constants that somebody reads in another way than the cuts expect keep their size. */
  settle(): void {
    const uses = new Map<string, string[]>();
    const axes = (node: Node, operand: number): string => this.cuts.filter((cut) => cut.node === node && cut.operand === operand).map(({ axis }) => axis).sort().join();
    const cut = new Set(this.cuts.map(({ constant }) => constant));
    for (const node of this.graph.nodes) node.inputs.forEach((input, operand) => {
      if (cut.has(input)) uses.set(input, [...(uses.get(input) ?? []), axes(node, operand)]);
    });
    for (const { constant, ids } of this.cuts) {
      const [first, ...others] = uses.get(constant) ?? [];
      if (others.some((other) => other !== first) || this.graph.outputs.includes(constant)) this.channels.fix(ids);
    }
    for (const output of this.graph.outputs) this.fix(output);
  }
}
