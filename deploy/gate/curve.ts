import { short, ticks } from '../compress/plot.js';
import type { GatePoint } from './choose.js';

const [width, height, margin] = [640, 400, 56];
const colours = ['#468', '#a63', '#384', '#84a', '#088', '#666'];

/** What the gates cost against what they miss, as an SVG picture: a line for each place of a gate, and a ring around the choice. */
export function curveSvg(points: readonly GatePoint[], chosen: GatePoint, missRate: number): string {
  const across = ticks(Math.max(...points.map(({ cost }) => cost)));
  const up = ticks(Math.max(missRate, ...points.map((point) => point.missRate)));
  const x = (cost: number): string => (margin + ((width - 2 * margin) * cost) / (across.at(-1) ?? 1)).toFixed(1);
  const y = (rate: number): string => (height - margin - ((height - 2 * margin) * rate) / (up.at(-1) ?? 1)).toFixed(1);
  const places = [...new Set(points.map(({ features }) => features?.split ?? null))];
  const line = (place: string | null, i: number): string[] => {
    const own = points.filter(({ features }) => (features?.split ?? null) === place);
    const colour = colours[i % colours.length] ?? '#000';
    return [
      `<polyline points="${own.map((point) => `${x(point.cost)},${y(point.missRate)}`).join(' ')}" fill="none" stroke="${colour}"/>`,
      ...own.map((point) => `<circle cx="${x(point.cost)}" cy="${y(point.missRate)}" r="3" fill="#fff" stroke="${colour}"><title>${titleOf(point)}</title></circle>`),
      `<text x="${width - margin}" y="${margin + 14 * i}" text-anchor="end" fill="${colour}">${escaped(place ?? 'pixel gate alone')}</text>`,
    ];
  };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...across.map((cost) => `<text x="${x(cost)}" y="${height - margin + 18}" text-anchor="middle">${short(cost)}</text>`),
    ...up.map((rate) => `<path d="M${margin} ${y(rate)}H${width - margin}" stroke="#ddd"/><text x="${margin - 6}" y="${y(rate)}" text-anchor="end">${short(100 * rate)} %</text>`),
    `<path d="M${margin} ${y(missRate)}H${width - margin}" stroke="#c30" stroke-dasharray="4 3"/>`,
    `<text x="${width / 2}" y="${height - 14}" text-anchor="middle">multiplications of the detector, as a share of running every frame in full</text>`,
    `<text x="${margin}" y="${margin - 16}">frames that stopped although a full run finds something new (dashed: the wanted miss rate)</text>`,
    ...places.flatMap(line),
    `<circle cx="${x(chosen.cost)}" cy="${y(chosen.missRate)}" r="6" fill="none" stroke="#c30" stroke-width="2"><title>chosen</title></circle>`,
    '</svg>',
    '',
  ].join('\n');
}

const titleOf = ({ pixels, features }: GatePoint): string => escaped(`pixels ${pixels ?? 'off'}${features === null ? '' : `, features ${features.threshold} after ${features.split}`}`);
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
