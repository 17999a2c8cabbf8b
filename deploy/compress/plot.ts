import type { ParetoReport } from '../../runtime/quantize/formats/choose-formats.js';

const [width, height, margin] = [640, 400, 56];

/** Four or five round numbers from zero to at least `most`. */
export function ticks(largest: number): number[] {
  const most = largest > 0 ? largest : 1;
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

export const short = (value: number): string => String(Number(value.toPrecision(3)));

/** What can be had for which cost, as an SVG picture: each point a model, a ring around the chosen one. */
export function paretoSvg({ target, unit, points, chosen }: ParetoReport): string {
  const across = ticks(Math.max(...points.map(({ cost }) => cost), chosen.cost));
  const up = ticks(Math.max(...points.map(({ drop }) => drop), chosen.drop));
  const x = (cost: number): number => margin + ((width - 2 * margin) * cost) / (across.at(-1) ?? 1);
  const y = (drop: number): number => height - margin - ((height - 2 * margin) * drop) / (up.at(-1) ?? 1);
  const at = (value: number): string => value.toFixed(1);
  const line = points.map(({ cost, drop }) => `${at(x(cost))},${at(y(drop))}`).join(' ');
  const dots = points.map(({ cost, drop, low_bit_layers }) => `<circle cx="${at(x(cost))}" cy="${at(y(drop))}" r="3"><title>${low_bit_layers} layers below int8</title></circle>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...across.map((cost) => `<text x="${at(x(cost))}" y="${height - margin + 18}" text-anchor="middle">${short(cost)}</text>`),
    ...up.map((drop) => `<path d="M${margin} ${at(y(drop))}H${width - margin}" stroke="#ddd"/><text x="${margin - 6}" y="${at(y(drop) + 4)}" text-anchor="end">${short(drop)}</text>`),
    `<path d="M${margin} ${margin}V${height - margin}H${width - margin}" fill="none" stroke="#000"/>`,
    `<text x="${width / 2}" y="${height - 14}" text-anchor="middle">${unit === 'ms' ? 'ms, measured here' : `million instructions on ${target}, counted`}</text>`,
    `<text x="${margin}" y="${margin - 16}">drop of the agreement with float32 (points: sum of single layers, ring: measured)</text>`,
    `<polyline points="${line}" fill="none" stroke="#468"/>`,
    `<g fill="#fff" stroke="#468">${dots.join('')}</g>`,
    `<circle cx="${at(x(chosen.cost))}" cy="${at(y(chosen.drop))}" r="6" fill="none" stroke="#c30" stroke-width="2"><title>chosen</title></circle>`,
    '</svg>',
    '',
  ].join('\n');
}
