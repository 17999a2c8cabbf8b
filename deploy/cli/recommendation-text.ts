/** A recommendation for people. */
import { frontText, letterOf } from '../lab/recommend/plot.js';
import type { Miss } from '../lab/recommend/front.js';
import type { Recommendation, TriedChain } from '../lab/recommend/report.js';
import { formatTable } from './table.js';

const right = (title: string) => ({ title, align: 'right' as const });

const missText = ({ bound, value, limit, over }: Miss, unit: string): string => {
  const [what, shown] = { drop: ['the drop', ''], cost: [unit === 'ms' ? 'the latency' : 'the instructions', ` ${unit}`], memory: ['the memory', ' kB'] }[bound] as [string, string];
  return `${what} is ${value}${shown} instead of ${limit}${shown} (${(100 * over).toFixed(0)} % over)`;
};

const names: Readonly<Record<Miss['bound'], string>> = { drop: 'drop', cost: 'time', memory: 'memory' };

function notesOf({ id, on_front: onFront, misses }: TriedChain, recommended: string | null): string {
  if (id === recommended) return 'recommended';
  const over = misses.map(({ bound }) => names[bound]).join(', ');
  return [...(onFront ? [] : ['another is nowhere worse']), ...(over === '' ? [] : [`over the bound: ${over}`])].join('; ');
}

function verdictText(report: Recommendation): string[] {
  const { recommended, nearest, tried, unit, confirmed, bounds, model, lab, scenario } = report;
  const chosen = tried.find(({ id }) => id === recommended);
  if (chosen === undefined) {
    const misses = tried.find(({ id }) => id === nearest)?.misses ?? [];
    return [`FAILED: nothing that was tried fits. ${nearest ?? ''} comes nearest: ${misses.map((miss) => missText(miss, unit)).join('; ')}. Allow more, give a larger --budget-minutes or more --steps, or begin with a smaller model`];
  }
  const least = scenario === 'low-memory' ? 'the least memory' : unit === 'ms' ? 'the least time' : 'the fewest instructions';
  const check = confirmed === null ? [] : [`on ${report.confirming_samples} samples that nothing was chosen by, its drop is ${confirmed.drop.toFixed(4)} ± ${confirmed.plus_minus.toFixed(4)}${confirmed.drop > bounds.maxDrop ? `: warning: more than the bound of ${bounds.maxDrop}; give more samples, or a smaller --max-drop` : ''}`];
  return [
    `recommended: ${chosen.id} (${chosen.reason}${chosen.source === '' ? '' : `; ${chosen.source}`}): ${least} of what fits all bounds`,
    ...check,
    ...report.measured.map(({ step, what, source }) => `measured before, ${step}: ${what} (${source})`),
    lab === null ? `written to ${model ?? ''}: nothing else that was tried and fits has less` : `written to ${model ?? ''}; sterna lab chain ${lab} -o FOLDER makes it again`,
  ];
}

/** With less, the median of a run is hardly longer than on a machine that does nothing else. */
const busyFrom = 1.2;

export function recommendationText(report: Recommendation): string {
  const { tried, left, recommended, unit, judged_samples: judged, busy, spent_seconds: spent, budget_seconds: budget } = report;
  const judgedBy = report.judged_by === 'boxes' ? 'share of the boxes of the original that are lost, weighted by scores and overlaps' : '1 minus the cosine with the outputs of the original, without their mean over the samples';
  const rows = tried.map((point, i) => [
    letterOf(i), point.id, `${point.drop.toFixed(4)} ± ${point.plus_minus.toFixed(4)}`, String(point.cost), String(point.kb), String(point.memory_kb), point.mj === null ? '-' : String(point.mj), point.on_front ? '*' : '', notesOf(point, recommended),
  ]);
  return [
    formatTable([{ title: '' }, { title: 'chain' }, right('drop'), right(unit), right('kB'), right('memory kB'), right('mJ'), { title: 'front' }, { title: 'notes' }], rows),
    '',
    ...(left.length === 0 ? [] : [formatTable([{ title: 'not in the table' }, { title: 'state' }, { title: 'why' }], left.map(({ id, state, why }) => [id, state, why])), '']),
    frontText(report),
    '',
    `drop: ${judgedBy}; ${judged} samples that no step saw, ± its standard error. kB: in a package. front: no other model is better in one column and nowhere worse`,
    `mJ: ${report.energy}`,
    ...(busy === null || busy < busyFrom ? [] : [`warning: runs took ${busy.toFixed(1)} times as long as their CPU time: other programs use this machine, so the times are too long; compare them with each other`]),
    `${(spent / 60).toFixed(1)} of ${(budget / 60).toFixed(1)} min spent${report.resumed === 0 ? '' : `; ${report.resumed} outcomes are of an earlier run`}; plot: ${report.plot}`,
    '',
    ...verdictText(report),
  ].join('\n');
}
