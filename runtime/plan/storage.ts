import { intAttribute } from '../graph/attributes.js';
import { typeOf, type Graph, type Node } from '../graph/graph.js';
import { outputOf } from '../graph/operands.js';
import { elementCount, programBytes, sameShape, type Shape } from '../graph/tensor-value.js';
import { coreSlice } from '../ops/core.js';
import { recordOf } from '../ops/registry.js';
import { single } from '../ops/views.js';
import { explain } from '../graph/explain.js';
import { layOut, type Block } from './arena.js';
import { liveness, union, type Interval } from './liveness.js';
import { pixelStride } from './pixel-stride.js';
import { chooseStrips, findStrips, type StripGroup } from './strips.js';

/** Where a value lives. */
export interface Placement {
  /** Bytes from the start of the arena. */
  readonly offset: number;
  /** Elements between successive indices of the second-to-last axis. */
  readonly pixelStride: number;
  /** It is a map of a strip: not in the arena, the offset is 0. */
  readonly strip: boolean;
}

export interface StoragePlan {
  /** Every value that is not a constant. */
  readonly placements: ReadonlyMap<string, Placement>;
  readonly arenaBytes: number;
  /** Nodes that need no operation: their output is memory that is written already. */
  readonly elided: ReadonlySet<Node>;
  /** For each Concat, which of its inputs are written in place by whoever makes them. */
  readonly inPlaceInputs: ReadonlyMap<Node, ReadonlySet<number>>;
  /** Why nodes run in strips, or why depthwise layers do not, for people. */
  readonly stripNotes: ReadonlyMap<Node, string>;
}

const lastDim = (shape: Shape): number => shape.at(-1) ?? 1;
const pixels = (shape: Shape): number => elementCount(shape) / Math.max(1, lastDim(shape));

/**
 * Values that share their memory from the first element to the last (a tensor and its views). A group may lie inside
 * another: a part of a concatenation, or of what is sliced.
 */
interface Group {
  members: string[];
  life: Interval;
  /** Its members differ in their last axis, or an operator demands it: no gaps between pixels. */
  dense: boolean;
  parent?: { group: Group; offset: number; stride: number };
  children: Group[];
}

/** A block of the arena, and the values that take all of it. */
interface ValueBlock extends Block {
  readonly values: readonly string[];
}

class StoragePlanner {
  private readonly groups = new Map<string, Group>();
  private readonly elided = new Set<Node>();
  private readonly inPlace = new Map<Node, Set<number>>();
  /** Values that a kernel slides over. */
  private readonly slidOver: ReadonlySet<string>;

  /** Values between the nodes of a strip. */
  private readonly inStrips: ReadonlySet<string>;

  constructor(private readonly graph: Graph, strips: readonly StripGroup[], keep = false) {
    this.slidOver = new Set(graph.nodes.flatMap((node) => (recordOf(node)?.pixels === 'aligned' ? node.inputs.slice(0, 1) : [])));
    const always: Interval = { first: -1, last: graph.nodes.length };
    for (const [value, life] of liveness(graph)) this.groups.set(value, { members: [value], life: keep ? always : life, dense: false, children: [] });
    this.inStrips = new Set(strips.flatMap(({ between }) => between));
    for (const { nodes, steps } of strips) for (const { inputs, outputs } of nodes) for (const value of [...inputs, ...outputs]) this.prolong(value, steps);
  }

  private prolong(value: string, steps: Interval): void {
    const group = this.group(value);
    if (group !== undefined) group.life = union(group.life, steps);
  }

  plan(): Omit<StoragePlan, 'stripNotes'> & { readonly blocks: readonly ValueBlock[] } {
    this.demandDense();
    for (const node of this.graph.nodes) if (node.op === 'View') this.joinView(node);
    for (const node of [...this.graph.nodes].reverse()) if (node.op === 'Concat') this.placeParts(node);
    for (const node of this.graph.nodes) if (node.op === 'StridedSlice') this.placeSlice(node);
    this.graph.nodes.forEach((node, step) => this.reuseInput(node, step));
    return this.assign();
  }

  private shape(value: string): Shape {
    return typeOf(this.graph, value).shape;
  }
  private bytes(value: string): number {
    return programBytes(typeOf(this.graph, value).dtype);
  }
  private group(value: string): Group | undefined {
    return this.groups.get(value);
  }

  /** Some operators read and write dense tensors. */
  private demandDense(): void {
    for (const node of this.graph.nodes) {
      if (recordOf(node)?.pixels !== undefined) continue;
      for (const value of [...node.inputs, ...node.outputs]) {
        const group = this.group(value);
        if (group !== undefined) group.dense = true;
      }
    }
  }

  /** Whether a group's pixels may be without gaps: feature maps of bytes that a kernel slides over want theirs aligned. */
  private mayBeDense(group: Group): boolean {
    return group.members.every((value) => {
      const last = lastDim(this.shape(value));
      return pixelStride(typeOf(this.graph, value).dtype, last) === last || !this.slidOver.has(value);
    });
  }

  private joinView(node: Node): void {
    const { x: input, output } = single(node);
    const [x, y] = [this.group(input), this.group(output)];
    if (x === undefined || y === undefined || x === y) return;
    const reshapes = lastDim(this.shape(input)) !== lastDim(this.shape(output));
    const dense = x.dense || y.dense || reshapes;
    const joined: Group = { members: [...x.members, ...y.members], life: union(x.life, y.life), dense, children: [] };
    if (dense && !this.mayBeDense(joined)) {
      // The elements are copied, without gaps on the far side: a copy cannot regroup pixels that have gaps.
      y.dense ||= reshapes;
      return;
    }
    for (const member of joined.members) this.groups.set(member, joined);
    this.elided.add(node);
  }

  /** Elements between the pixels of a value. */
  private strideOf(value: string): number {
    const group = this.group(value);
    const last = lastDim(this.shape(value));
    if (group === undefined || group.dense || pixels(this.shape(value)) === 1) return last;
    if (group.parent !== undefined) return group.parent.stride;
    return pixelStride(typeOf(this.graph, value).dtype, last);
  }

  /** Where part [start, start + size) of an axis of `whole` lies in it, undefined when that is not one run of pixels. */
  private partOf(whole: string, axis: number, start: number): { offset: number; channels: boolean } | undefined {
    const shape = this.shape(whole);
    const stride = this.strideOf(whole);
    if (axis === shape.length - 1) return { offset: start, channels: true };
    if (elementCount(shape.slice(0, axis)) !== 1) return undefined;
    return { offset: start * pixels(shape.slice(axis + 1)) * stride, channels: false };
  }

  /** Puts a group inside another; false when their strides do not agree. */
  private nest(child: Group, whole: string, part: string, at: { offset: number; channels: boolean }): boolean {
    const parent = this.group(whole);
    if (parent === undefined || parent === child || child.parent !== undefined || this.contains(child, parent)) return false;
    const stride = this.strideOf(whole);
    const alone = pixels(this.shape(part)) === 1;
    const dense = stride === lastDim(this.shape(part)) || alone;
    if (child.dense && !dense) return false;
    if (!dense && child.members.some((member) => lastDim(this.shape(member)) !== lastDim(this.shape(part)))) return false;
    // Children of a group were placed by its stride, which must not change any more.
    if (child.children.length > 0 && !child.dense && this.strideOf(part) !== stride) return false;
    child.parent = { group: parent, offset: at.offset, stride };
    parent.children.push(child);
    return true;
  }

  private contains(outer: Group, inner: Group): boolean {
    for (let at: Group | undefined = inner; at !== undefined; at = at.parent?.group) if (at === outer) return true;
    return false;
  }

  private placeParts(node: Node): void {
    const whole = outputOf(node);
    const axis = intAttribute(node, 'axis', 0);
    this.closeGaps(node, axis);
    const placed = new Set<number>();
    const seen = new Set<string>();
    let start = 0;
    node.inputs.forEach((part, i) => {
      const at = this.partOf(whole, axis, start);
      start += this.shape(part)[axis] ?? 0;
      const child = this.group(part);
      if (at === undefined || child === undefined || seen.has(part)) return;
      seen.add(part);
      if (this.nest(child, whole, part, at)) placed.add(i);
    });
    this.inPlace.set(node, placed);
    if (placed.size === node.inputs.length) this.elided.add(node);
  }

  /** A concatenation of rows that come without gaps has none either, if nobody needs them. */
  private closeGaps(node: Node, axis: number): void {
    const output = outputOf(node);
    const whole = this.group(output);
    const rows = axis < this.shape(output).length - 1;
    const gapless = node.inputs.some((part) => this.group(part)?.dense === true);
    if (whole !== undefined && rows && gapless && whole.parent === undefined && whole.children.length === 0 && this.mayBeDense(whole)) whole.dense = true;
  }

  private placeSlice(node: Node): void {
    const { x: whole, output: part } = single(node);
    const { starts, steps, extent } = coreSlice(node);
    const shape = this.shape(whole);
    const cut = extent.flatMap((size, axis) => (size === shape[axis] ? [] : [axis]));
    const [axis] = cut;
    if (axis === undefined || cut.length > 1 || steps.some((step) => step !== 1)) return;
    const at = this.partOf(whole, axis, starts[axis] ?? 0);
    const child = this.group(part);
    if (at === undefined || child === undefined || child.children.length > 0) return;
    if (this.nest(child, whole, part, at)) this.elided.add(node);
  }

  private rootOf(group: Group): Group {
    let root = group;
    while (root.parent !== undefined) root = root.parent.group;
    return root;
  }

  private lifeOf(group: Group): Interval {
    return group.children.reduce((life, child) => union(life, this.lifeOf(child)), group.life);
  }

  /** Elementwise operators may overwrite an operand that nobody reads afterwards. */
  private reuseInput(node: Node, step: number): void {
    if (recordOf(node)?.overwrites !== true) return;
    const output = outputOf(node);
    const y = this.group(output);
    if (y === undefined || y.parent !== undefined) return;
    for (const input of node.inputs) {
      const x = this.group(input);
      if (x === undefined || x === y || x.parent !== undefined) continue;
      const alike = sameShape(this.shape(input), this.shape(output)) && this.strideOf(input) === this.strideOf(output) && this.bytes(input) === this.bytes(output);
      if (!alike || this.lifeOf(x).last !== step || this.lifeOf(y).first !== step) continue;
      // Another operand that is a part of the same memory would be overwritten before it is read.
      const entangled = node.inputs.some((other) => other !== input && this.sharesMemory(other, x));
      if (entangled) continue;
      y.parent = { group: x, offset: 0, stride: this.strideOf(output) };
      x.children.push(y);
      return;
    }
  }

  private sharesMemory(value: string, root: Group): boolean {
    const group = this.group(value);
    return group !== undefined && this.rootOf(group) === root;
  }

  private groupBytes(group: Group): number {
    return Math.max(...group.members.map((value) => {
      const shape = this.shape(value);
      return ((pixels(shape) - 1) * this.strideOf(value) + lastDim(shape)) * this.bytes(value);
    }));
  }

  private assign(): ReturnType<StoragePlanner['plan']> {
    const groups = [...this.groups].flatMap(([value, group]) => (this.inStrips.has(value) ? [] : [group]));
    const roots = [...new Set(groups.map((group) => this.rootOf(group)))];
    const blocks = roots.map((root) => ({ bytes: this.groupBytes(root), life: this.lifeOf(root), values: root.members }));
    const { offsets, bytes } = layOut(blocks);
    const base = new Map(roots.map((root, i) => [root, offsets[i] ?? 0]));
    const placements = new Map<string, Placement>();
    for (const [value, group] of this.groups) {
      let elements = 0;
      let at = group;
      while (at.parent !== undefined) {
        elements += at.parent.offset;
        at = at.parent.group;
      }
      placements.set(value, { offset: (base.get(at) ?? 0) + elements * this.bytes(value), pixelStride: this.strideOf(value), strip: this.inStrips.has(value) });
    }
    return { placements, arenaBytes: bytes, elided: this.elided, inPlaceInputs: this.inPlace, blocks };
  }
}

export interface StorageOptions {
  /** Whether convolutions may run in strips, which saves the arena the maps between them. Default true. */
  readonly strips?: boolean;
  /** Whether every map is there until the next run, for runs that compute a part: no two share memory then, and there are no strips. Default false. */
  readonly keep?: boolean;
}

/**
 * Plans the memory of a graph of core operators: views and slices are aliases, parts of a concatenation are written where
 * they end up, elementwise operators work in place, the maps that decide the size of the arena are never there as a whole
 * where strips can do without, and the rest shares one arena by lifetime.
 */
export function planStorage(graph: Graph, { strips = true, keep = false }: StorageOptions = {}): StoragePlan {
  const first = new StoragePlanner(graph, [], keep).plan();
  const { blocks, ...plain } = first;
  if (!strips || keep) return { ...plain, stripNotes: new Map() };
  const { groups, refused } = findStrips(graph);
  const blockOf = new Map(blocks.flatMap(({ values }, block) => values.map((value) => [value, block] as const)));
  const candidates = groups.map(({ between, ...rest }) => ({ ...rest, between: between.flatMap((value) => blockOf.get(value) ?? []) }));
  const decisions = chooseStrips(blocks, candidates, graph.nodes.length);
  const planWith = (strips: readonly StripGroup[]): Omit<StoragePlan, 'stripNotes'> => {
    const { blocks: _, ...planned } = strips.length === 0 ? first : new StoragePlanner(graph, strips).plan();
    return planned;
  };
  // What is alive at once fits together as well with strips as without, as a rule: the layout has the last word.
  const [saving, fast] = [groups.filter((_, i) => decisions[i]?.chosen === true), groups.filter(({ faster }, i) => decisions[i]?.chosen === true || faster !== '')];
  const small = planWith(saving);
  const least = small.arenaBytes < plain.arenaBytes ? { planned: small, strips: saving } : { planned: plain, strips: [] };
  const planned = fast.length > saving.length ? planWith(fast) : small;
  const { planned: best, strips: made } = fast.length > saving.length && planned.arenaBytes <= least.planned.arenaBytes ? { planned, strips: fast } : least;
  const stripNotes = new Map([...refused].map(([node, reason]) => [node, `no strip: ${reason}`]));
  groups.forEach((group, i) => {
    const { chosen: wanted = false, reason = '' } = decisions[i] ?? {};
    if (made.includes(group)) for (const node of group.nodes) stripNotes.set(node, `strip of ${group.nodes.length} layers: ${wanted ? reason : group.faster}`);
    else for (const node of group.nodes.slice(-2, -1)) stripNotes.set(node, `no strip: ${wanted || group.faster !== '' ? 'the arena would not become smaller' : reason}`);
  });
  for (const [node, note] of stripNotes) explain('strips', node, note);
  return { ...best, stripNotes };
}
