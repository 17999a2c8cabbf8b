import { chartOf } from '../chart.js';

/** Points of the curve: more would only make the file larger. */
const mostPoints = 400;

/** Means of equal parts of the steps. */
function thinned(losses: readonly number[]): { step: number; loss: number }[] {
  const part = Math.max(1, Math.ceil(losses.length / mostPoints));
  return Array.from({ length: Math.ceil(losses.length / part) }, (_, i) => {
    const own = losses.slice(i * part, (i + 1) * part);
    return { step: Math.min(losses.length, (i + 1) * part), loss: own.reduce((sum, loss) => sum + loss, 0) / own.length };
  });
}

/** Loss against step, as an SVG picture. */
export function lossSvg(losses: readonly number[], title: string): string {
  const points = thinned(losses);
  const { x, y, draw } = chartOf({ cost: losses.length, loss: Math.max(...points.map(({ loss }) => loss), 0), costs: 'step', title });
  return draw([`<polyline points="${points.map(({ step, loss }) => `${x(step)},${y(Math.max(0, loss))}`).join(' ')}" fill="none" stroke="#468"/>`]);
}
