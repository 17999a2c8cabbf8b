/** The frame that pictures of a loss (upwards) by a cost or a step (to the right) have in common, as SVG. Both begin at zero. */

const [width, height, margin] = [640, 400, 56];

/** Four or five round numbers from zero to at least `most`. */
function ticks(largest: number): number[] {
  const most = largest > 0 ? largest : 1;
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

const short = (value: number): string => String(Number(value.toPrecision(3)));
export const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

export interface Chart {
  /** Place of a value, in the units of the picture. */
  x(cost: number): string;
  y(loss: number): string;
  /** A dashed line at that loss. */
  limit(loss: number): string;
  /** A row of the legend, from the top. */
  legend(row: number, text: string, colour: string): string;
  /** A ring around what was chosen. */
  ring(cost: number, loss: number): string;
  /** The whole picture. */
  draw(elements: readonly string[]): string;
}

/** @param axes the largest values, the title of the axis of costs, and the title of the picture; `percent`: losses are shares */
export function chartOf({ cost, loss, costs, title, percent = false }: { cost: number; loss: number; costs: string; title: string; percent?: boolean }): Chart {
  const [across, up] = [ticks(cost), ticks(loss)];
  const x = (value: number): string => (margin + ((width - 2 * margin) * value) / (across.at(-1) ?? 1)).toFixed(1);
  const level = (value: number): number => height - margin - ((height - 2 * margin) * value) / (up.at(-1) ?? 1);
  const y = (value: number): string => level(value).toFixed(1);
  return {
    x, y,
    limit: (value) => `<path d="M${margin} ${y(value)}H${width - margin}" stroke="#c30" stroke-dasharray="4 3"/>`,
    legend: (row, text, colour) => `<text x="${width - margin}" y="${margin + 14 * row}" text-anchor="end" fill="${colour}">${escaped(text)}</text>`,
    ring: (atCost, atLoss) => `<circle cx="${x(atCost)}" cy="${y(atLoss)}" r="6" fill="none" stroke="#c30" stroke-width="2"><title>chosen</title></circle>`,
    draw: (elements) => [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
      `<rect width="${width}" height="${height}" fill="#fff"/>`,
      ...across.map((value) => `<text x="${x(value)}" y="${height - margin + 18}" text-anchor="middle">${short(value)}</text>`),
      ...up.map((value) => `<path d="M${margin} ${y(value)}H${width - margin}" stroke="#ddd"/><text x="${margin - 6}" y="${(level(value) + 4).toFixed(1)}" text-anchor="end">${percent ? `${short(100 * value)} %` : short(value)}</text>`),
      `<path d="M${margin} ${margin}V${height - margin}H${width - margin}" fill="none" stroke="#000"/>`,
      `<text x="${width / 2}" y="${height - 14}" text-anchor="middle">${costs}</text>`,
      `<text x="${margin}" y="${margin - 16}">${title}</text>`,
      ...elements,
      '</svg>',
      '',
    ].join('\n'),
  };
}
