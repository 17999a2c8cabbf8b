import type { ParetoReport } from '../../runtime/quantize/formats/choose-formats.js';
import { chartOf } from '../chart.js';

/** What can be had for which cost, as an SVG picture: each point a model, a ring around the chosen one. */
export function paretoSvg({ target, unit, points, chosen }: ParetoReport): string {
  const { x, y, ring, draw } = chartOf({
    cost: Math.max(...points.map(({ cost }) => cost), chosen.cost), loss: Math.max(...points.map(({ drop }) => drop), chosen.drop),
    costs: unit === 'ms' ? 'ms, measured here' : `million instructions on ${target}, counted`,
    title: 'drop of the agreement with float32 (points: sum of single layers, ring: measured)',
  });
  const dots = points.map(({ cost, drop, low_bit_layers }) => `<circle cx="${x(cost)}" cy="${y(drop)}" r="3"><title>${low_bit_layers} layers below int8</title></circle>`);
  return draw([
    `<polyline points="${points.map(({ cost, drop }) => `${x(cost)},${y(drop)}`).join(' ')}" fill="none" stroke="#468"/>`,
    `<g fill="#fff" stroke="#468">${dots.join('')}</g>`,
    ring(chosen.cost, chosen.drop),
  ]);
}
