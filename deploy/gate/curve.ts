import { chartOf, escaped } from '../chart.js';
import type { SoundGatePoint } from './calibrate-sound.js';
import type { GatePoint, Trade } from './choose.js';

const colours = ['#468', '#a63', '#384', '#84a', '#088', '#666'];

/** A point of the picture: what was set, and the line that it is on. */
export interface DrawnPoint extends Trade {
  place: string;
  title: string;
}

/** The gates of a detector. */
export const drawnGates = (point: GatePoint): DrawnPoint => ({
  cost: point.cost, missRate: point.missRate, place: point.features?.split ?? 'pixel gate alone',
  title: `pixels ${point.pixels ?? 'off'}${point.features === null ? '' : `, features ${point.features.threshold} after ${point.features.split}`}`,
});

/** The gate of sound. */
export const drawnMargin = ({ cost, missRate, margin_db: margin }: SoundGatePoint): DrawnPoint => ({ cost, missRate, place: 'margin over the noise', title: margin === null ? 'off' : `${margin} dB` });

/** What is counted, for the axis and the title. */
export const captions = {
  frames: { costs: 'multiplications of the detector, as a share of running every frame in full', title: 'frames that stopped although a full run finds something new (dashed: the wanted miss rate)' },
  windows: { costs: 'share of the windows that run', title: 'windows that stopped although the model hears something (dashed: the wanted miss rate)' },
} as const;

/** What the gates cost against what they miss, as an SVG picture: a line for each place of a gate, and a ring around the choice. */
export function curveSvg(points: readonly DrawnPoint[], chosen: Trade, missRate: number, caption: (typeof captions)[keyof typeof captions] = captions.frames): string {
  const { x, y, limit, legend, ring, draw } = chartOf({
    cost: Math.max(...points.map(({ cost }) => cost)), loss: Math.max(missRate, ...points.map((point) => point.missRate)), percent: true, ...caption,
  });
  const places = [...new Set(points.map(({ place }) => place))];
  const line = (place: string, i: number): string[] => {
    const own = points.filter((point) => point.place === place);
    const colour = colours[i % colours.length] ?? '#000';
    return [
      `<polyline points="${own.map((point) => `${x(point.cost)},${y(point.missRate)}`).join(' ')}" fill="none" stroke="${colour}"/>`,
      ...own.map((point) => `<circle cx="${x(point.cost)}" cy="${y(point.missRate)}" r="3" fill="#fff" stroke="${colour}"><title>${escaped(point.title)}</title></circle>`),
      legend(i, place, colour),
    ];
  };
  return draw([limit(missRate), ...places.flatMap(line), ring(chosen.cost, chosen.missRate)]);
}
