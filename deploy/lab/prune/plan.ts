import { DeployError } from '../../errors.js';
import type { ChannelGroup, Dependencies, WeightedLayer } from './dependencies.js';

export interface PlanSettings {
  /** Multiply-adds that may be left. */
  readonly macs: number;
  /** Layers keep multiples of so many channels, which fill the kernels' registers. */
  readonly align: number;
  /** Least share of a group's channels that stays. */
  readonly keep: number;
}

/** One side of a layer's weights while channels go. */
interface Side {
  readonly length: number;
  left: number;
  /** Indices by channel. */
  readonly counts: ReadonlyMap<number, number>;
}

interface CountedLayer {
  readonly macs: number;
  readonly sides: readonly Side[];
}

const countedLayer = ({ macs, sides }: WeightedLayer): CountedLayer => ({
  macs,
  sides: sides.map((ids) => {
    const counts = new Map<number, number>();
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
    return { length: ids.length, left: ids.length, counts };
  }),
});

const lostOf = ({ counts }: Side, channels: readonly number[]): number => channels.reduce((sum, id) => sum + (counts.get(id) ?? 0), 0);
const costOf = ({ macs, sides }: CountedLayer, channels: readonly number[] = []): number => sides.reduce((product, side) => (product * (side.left - lostOf(side, channels))) / side.length, macs);

/** A group while its channels go, the least important first. */
interface Shrinking {
  readonly order: number[];
  readonly step: number;
  readonly least: number;
  readonly layers: readonly CountedLayer[];
}

/** The channels that would go next: as many as bring the group to a multiple of the alignment. Empty when none can go any more. */
function nextBlock({ order, step, least }: Shrinking): number[] {
  const size = Math.floor((order.length - 1) / step) * step;
  return size < Math.max(least, step) ? [] : order.slice(0, order.length - size);
}

function shrinkingOf(group: ChannelGroup, layers: readonly CountedLayer[], scores: ReadonlyMap<number, number>, { align, keep }: PlanSettings): Shrinking {
  const order = group.channels.filter((id) => scores.has(id)).sort((a, b) => (scores.get(a) ?? 0) - (scores.get(b) ?? 0) || a - b);
  const own = new Set(group.channels);
  return { order, step: Math.max(1, Math.ceil(align / group.width)), least: Math.ceil(keep * group.channels.length), layers: layers.filter(({ sides }) => sides.some(({ counts }) => [...counts.keys()].some((id) => own.has(id)))) };
}

/** Multiply-adds of all layers with constant weights. */
export const totalMacs = ({ layers }: Pick<Dependencies, 'layers'>): number => layers.reduce((sum, { macs }) => sum + macs, 0);

/**
 * Chooses channels to remove until few enough multiply-adds are left: again and again, the block of channels that is least important for what it saves.
 * @param scores importance of each channel that may go, comparable between groups
 * @throws DeployError E_LAB: no group of channels can be removed, or too few for the target
 */
export function planRemoval(dependencies: Dependencies, scores: ReadonlyMap<number, number>, settings: PlanSettings): Set<number> {
  const layers = dependencies.layers.map(countedLayer);
  const groups = dependencies.groups.map((group) => shrinkingOf(group, layers, scores, settings)).filter((group) => nextBlock(group).length > 0);
  const before = totalMacs(dependencies);
  if (groups.length === 0) throw new DeployError('E_LAB', `The model has no channels that can be removed in multiples of ${settings.align}: all of its ${dependencies.layers.length} layers make outputs of the model, are excluded, or meet operators that channels cannot be followed through; a smaller alignment may help`);
  const removed = new Set<number>();
  let macs = before;
  while (macs > settings.macs) {
    let best: { group: Shrinking; block: number[]; value: number; saved: number } | undefined;
    for (const group of groups) {
      const block = nextBlock(group);
      if (block.length === 0) continue;
      const saved = group.layers.reduce((sum, layer) => sum + costOf(layer) - costOf(layer, block), 0);
      const value = block.reduce((sum, id) => sum + (scores.get(id) ?? 0), 0) / Math.max(saved, 1e-9);
      if (best === undefined || value < best.value) best = { group, block, value, saved };
    }
    if (best === undefined) {
      const share = (part: number): string => `${(100 * (1 - part / before)).toFixed(0)} %`;
      throw new DeployError('E_LAB', `Removing ${share(settings.macs)} of the multiply-adds is out of reach: ${share(macs)} can be removed with multiples of ${settings.align} channels and ${100 * settings.keep} % of each layer kept; ask for less, or lower the alignment`, { details: { reachable: 1 - macs / before } });
    }
    for (const id of best.block) removed.add(id);
    best.group.order.splice(0, best.block.length);
    for (const layer of best.group.layers) for (const side of layer.sides) side.left -= lostOf(side, best.block);
    macs -= best.saved;
  }
  return removed;
}
