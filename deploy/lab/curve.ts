import { short, ticks } from '../chart.js';

const [width, height, margin] = [640, 320, 48];

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
  const across = ticks(losses.length);
  const up = ticks(Math.max(...points.map(({ loss }) => loss), 0));
  const x = (step: number): string => (margin + ((width - 2 * margin) * step) / (across.at(-1) ?? 1)).toFixed(1);
  const y = (loss: number): string => (height - margin - ((height - 2 * margin) * Math.max(0, loss)) / (up.at(-1) ?? 1)).toFixed(1);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${margin}" y="${margin - 16}">${title.replace(/[<&>]/g, ' ')}</text>`,
    ...across.map((step) => `<text x="${x(step)}" y="${height - margin + 18}" text-anchor="middle">${short(step)}</text>`),
    ...up.map((loss) => `<path d="M${margin} ${y(loss)}H${width - margin}" stroke="#ddd"/><text x="${margin - 6}" y="${y(loss)}" text-anchor="end">${short(loss)}</text>`),
    `<path d="M${margin} ${margin}V${height - margin}H${width - margin}" fill="none" stroke="#000"/>`,
    `<text x="${width / 2}" y="${height - 10}" text-anchor="middle">step</text>`,
    `<polyline points="${points.map(({ step, loss }) => `${x(step)},${y(loss)}`).join(' ')}" fill="none" stroke="#468"/>`,
    '</svg>',
    '',
  ].join('\n');
}
