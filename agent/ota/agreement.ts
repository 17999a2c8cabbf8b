/** Says which parts of two packages' findings can be compared. Pure. */
import type { Compared } from '../../runtime/stages/agreement.js';
import type { Vocabulary } from '../ground/shadow.js';

/** Which parts of two packages' findings can be compared. */
export interface Comparable extends Compared {
  /** False when the two are of different kinds, or have no class in common. Only latency, energy and errors are judged then. */
  findings: boolean;
  /** What is left out of the comparison, and why; null when nothing is. */
  note: string | null;
}

/** Findings of packages of different kinds are not compared. If their lists of classes differ, the classes that both have are compared. */
export function comparable(serving: Vocabulary, candidate: Vocabulary): Comparable {
  if (serving.kind !== candidate.kind) {
    return { findings: false, identities: false, labels: null, note: `findings are not compared: the package is of kind ${candidate.kind}, the serving one of kind ${serving.kind}` };
  }
  const identities = serving.embeddingSpaceId !== null && serving.embeddingSpaceId === candidate.embeddingSpaceId;
  if (serving.labels.length === 0 || candidate.labels.length === 0) return { findings: true, identities, labels: null, note: null };
  const common = new Set(serving.labels.filter((label) => candidate.labels.includes(label)));
  const [removed, added] = [serving.labels.length - common.size, new Set(candidate.labels).size - common.size];
  if (common.size === 0) return { findings: false, identities: false, labels: common, note: 'findings are not compared: the two packages have no class in common' };
  const changed = removed > 0 || added > 0;
  return { findings: true, identities, labels: common, note: changed ? `only the ${common.size} classes that both packages have are compared (${added} added, ${removed} removed)` : null };
}
