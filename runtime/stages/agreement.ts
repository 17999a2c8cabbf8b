/** Measures how far two packages, or two forms of one, agree on what is in a sample. Pure. */
import { overlapOf } from '../vision/nms.js';
import { detectionsOf, type Box, type Finding } from './finding.js';

/** Totals over all samples: what the serving package found, what the candidate found, and what both found. */
export interface Counts {
  serving: number;
  candidate: number;
  both: number;
}

export interface Agreement {
  /** Findings with a place. They agree when they are of the same class and their boxes overlap. */
  boxes: Counts;
  /** Identities of people at the same place whom the serving package recognized. */
  identities: Counts;
  /** Classes of whole samples, and sounds. */
  classes: Counts;
}

/** What of two packages' findings is compared. */
export interface Compared {
  /** False when their embeddings are of different spaces. */
  identities: boolean;
  /** Classes that both can find; null when all count, because one of them states no classes. */
  labels: ReadonlySet<string> | null;
}

/** From this overlap on (intersection over union), two boxes show the same thing. PASCAL VOC uses the same value (Everingham et al., IJCV 2010). */
const SAME_PLACE_IOU = 0.5;

const none = (): Counts => ({ serving: 0, candidate: 0, both: 0 });
export const noAgreement = (): Agreement => ({ boxes: none(), identities: none(), classes: none() });

/** Adds the findings of one sample to the totals. */
export function addSample(total: Agreement, serving: readonly Finding[], candidate: readonly Finding[], { labels, identities }: Compared): Agreement {
  const known = (finding: Finding): boolean => labels === null || labels.has(finding.label);
  const [a, b] = [serving.filter(known), candidate.filter(known)];
  const [boxesA, boxesB] = [detectionsOf(a), detectionsOf(b)];
  const pairs = pairBoxes(boxesA, boxesB);
  const named = identities ? pairs.filter(([i]) => boxesA[i]?.identity != null) : [];
  const same = named.filter(([i, j]) => boxesA[i]?.identity?.personId === boxesB[j]?.identity?.personId);
  const [classesA, classesB] = [wholes(a), wholes(b)];
  return {
    boxes: plus(total.boxes, boxesA.length, boxesB.length, pairs.length),
    identities: plus(total.identities, named.length, named.length, same.length),
    classes: plus(total.classes, classesA.size, classesB.size, [...classesA].filter((label) => classesB.has(label)).length),
  };
}

/**
 * The share of what either found that both found: the Dice coefficient, which is also the F1 score of one with the other as the truth. Null when
 * neither found anything.
 */
export function shareOf({ serving, candidate, both }: Counts): number | null {
  return serving + candidate === 0 ? null : (2 * both) / (serving + candidate);
}

/** The best class of a whole sample, and every sound in it. */
function wholes(findings: readonly Finding[]): Set<string> {
  const best = findings.find(({ type }) => type === 'class');
  const sounds = findings.filter(({ type }) => type === 'sound').map(({ label }) => `sound ${label}`);
  return new Set([...(best === undefined ? [] : [`class ${best.label}`]), ...sounds]);
}

/** Pairs boxes greedily, the largest overlaps first. Each box is used once. */
function pairBoxes(a: readonly { label: string; box: Box }[], b: readonly { label: string; box: Box }[]): [number, number][] {
  const overlaps = a.flatMap((one, i) => b.flatMap((two, j) => {
    const iou = one.label === two.label ? overlapOf(one.box, two.box) : 0;
    return iou >= SAME_PLACE_IOU ? [{ i, j, iou }] : [];
  })).sort((x, y) => y.iou - x.iou);
  const [usedA, usedB] = [new Set<number>(), new Set<number>()];
  return overlaps.flatMap(({ i, j }): [number, number][] => {
    if (usedA.has(i) || usedB.has(j)) return [];
    usedA.add(i);
    usedB.add(j);
    return [[i, j]];
  });
}

function plus(total: Counts, serving: number, candidate: number, both: number): Counts {
  return { serving: total.serving + serving, candidate: total.candidate + candidate, both: total.both + both };
}
