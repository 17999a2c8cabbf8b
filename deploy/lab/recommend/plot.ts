/** The drop against the cost of what was tried, as a picture and as text. */
import { chartOf, escaped } from '../../chart.js';
import type { Recommendation, TriedChain } from './report.js';

/** Models that lose more than this many times the bound are no choice, and would press all others together. */
const mostDrops = 4;

/** What can be seen: all that is on the front, and what else is not far above the bound. */
const visible = ({ tried, bounds }: Recommendation): TriedChain[] => tried.filter(({ drop }) => drop <= mostDrops * bounds.maxDrop);

/** Letter of a row in the table. */
export const letterOf = (i: number): string => String.fromCharCode(65 + i);

export function frontSvg(report: Recommendation): string {
  const { bounds, unit, target, tried, recommended } = report;
  const shown = visible(report);
  const { x, y, limit, legend, ring, draw } = chartOf({
    cost: Math.max(...shown.map(({ cost }) => cost)), loss: Math.max(bounds.maxDrop, ...shown.map(({ drop }) => drop)),
    costs: target === 'this' ? 'ms, measured here' : `${unit}, counted`, title: 'drop of the agreement with the original, on samples that no step saw',
  });
  const dots = shown.map((point) => `<circle cx="${x(point.cost)}" cy="${y(point.drop)}" r="3" fill="${point.on_front ? '#468' : '#fff'}"><title>${escaped(`${point.id}: ${point.cost} ${unit}, drop ${point.drop}, ${point.kb} kB`)}</title></circle>`
    + `<text x="${x(point.cost)}" y="${y(point.drop)}" dx="5" dy="-4" font-size="10" stroke="none" fill="#468">${letterOf(tried.indexOf(point))}</text>`);
  const chosen = tried.find(({ id }) => id === recommended);
  const hidden = tried.length - shown.length;
  return draw([
    limit(bounds.maxDrop),
    `<g stroke="#468">${dots.join('')}</g>`,
    ...(chosen === undefined ? [] : [ring(chosen.cost, chosen.drop)]),
    ...tried.map(({ id, on_front: on }, i) => legend(i, `${letterOf(i)} ${id}`, on ? '#468' : '#999')),
    ...(hidden === 0 ? [] : [legend(tried.length, `${hidden} of them far above the bound`, '#c30')]),
  ]);
}

const [columns, lines] = [56, 12] as const;

/** The same for a terminal: letters of the rows, and a line at the bound. */
export function frontText(report: Recommendation): string {
  const { bounds, unit, tried } = report;
  const shown = visible(report);
  const [most, loss] = [Math.max(...shown.map(({ cost }) => cost)), Math.max(1.2 * bounds.maxDrop, ...shown.map(({ drop }) => drop))];
  const row = (drop: number): number => lines - 1 - Math.round(((lines - 1) * drop) / loss);
  const grid = Array.from({ length: lines }, (_, i) => Array.from({ length: columns + 4 }, (): string => (i === row(bounds.maxDrop) ? '-' : ' ')));
  for (const point of shown) {
    const line = grid[row(point.drop)] ?? [];
    let at = Math.round(((columns - 1) * point.cost) / Math.max(most, Number.MIN_VALUE));
    while (at < line.length - 1 && /[A-Z]/.test(line[at] ?? '')) at++;
    line[at] = letterOf(tried.indexOf(point));
  }
  const axis = (i: number): string => (i === 0 ? loss.toFixed(3) : i === row(bounds.maxDrop) ? bounds.maxDrop.toFixed(3) : i === lines - 1 ? '0' : '').padStart(7);
  const hidden = tried.length - shown.length;
  return [
    'drop',
    ...grid.map((line, i) => `${axis(i)} |${line.join('').trimEnd()}`),
    `${' '.repeat(8)}+${'-'.repeat(columns)}`,
    `${' '.repeat(9)}0${`${most} ${unit}`.padStart(columns - 1)}`,
    ...(hidden === 0 ? [] : [`${hidden} models of the table lose too much for the picture`]),
  ].join('\n');
}
