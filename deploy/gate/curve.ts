import { chartOf, escaped } from '../chart.js';
import type { GatePoint } from './choose.js';

const colours = ['#468', '#a63', '#384', '#84a', '#088', '#666'];

/** What the gates cost against what they miss, as an SVG picture: a line for each place of a gate, and a ring around the choice. */
export function curveSvg(points: readonly GatePoint[], chosen: GatePoint, missRate: number): string {
  const { x, y, limit, legend, ring, draw } = chartOf({
    cost: Math.max(...points.map(({ cost }) => cost)), loss: Math.max(missRate, ...points.map((point) => point.missRate)), percent: true,
    costs: 'multiplications of the detector, as a share of running every frame in full',
    title: 'frames that stopped although a full run finds something new (dashed: the wanted miss rate)',
  });
  const places = [...new Set(points.map(({ features }) => features?.split ?? null))];
  const line = (place: string | null, i: number): string[] => {
    const own = points.filter(({ features }) => (features?.split ?? null) === place);
    const colour = colours[i % colours.length] ?? '#000';
    return [
      `<polyline points="${own.map((point) => `${x(point.cost)},${y(point.missRate)}`).join(' ')}" fill="none" stroke="${colour}"/>`,
      ...own.map((point) => `<circle cx="${x(point.cost)}" cy="${y(point.missRate)}" r="3" fill="#fff" stroke="${colour}"><title>${titleOf(point)}</title></circle>`),
      legend(i, place ?? 'pixel gate alone', colour),
    ];
  };
  return draw([limit(missRate), ...places.flatMap(line), ring(chosen.cost, chosen.missRate)]);
}

const titleOf = ({ pixels, features }: GatePoint): string => escaped(`pixels ${pixels ?? 'off'}${features === null ? '' : `, features ${features.threshold} after ${features.split}`}`);
