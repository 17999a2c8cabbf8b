import { classOf, nameOf } from './finding.js';
import { percent } from './format.js';

/** What can be drawn over the picture, in drawing order. Colours are those of the picture, which is the same in both themes. */
export const LAYERS = [['cells', 'Active cells'], ['zones', 'Zones'], ['tracks', 'Tracks'], ['boxes', 'Boxes']];

const COLOURS = { known: '#34d399', unknown: '#fbbf24', thing: '#7dd3fc' };
const ZONES = { include: '#a78bfa', exclude: '#f87171' };

/**
 * @param scale canvas pixels of one pixel of the frame
 * @param trails points that each track has been at, by its number
 */
export function drawOverlay(context, { frame, findings, scale, zones, layers, trails }) {
  if (layers.has('cells') && frame?.cells) drawCells(context, frame.cells);
  if (layers.has('zones')) for (const zone of zones) drawZone(context, zone);
  if (layers.has('tracks')) for (const finding of findings) if (finding.box && finding.track !== undefined) drawTrail(context, trails.get(finding.track) ?? [], COLOURS[classOf(finding)], scale);
  if (layers.has('boxes')) for (const finding of findings) if (finding.box) drawBox(context, finding, scale);
}

/** Bit i & 7 of byte i >> 3 is cell i, row by row. */
export function activeCells({ width, height, bits }) {
  const bytes = Uint8Array.from(atob(bits), (letter) => letter.charCodeAt(0));
  return Array.from({ length: width * height }, (_, i) => i).filter((i) => ((bytes[i >> 3] ?? 0) >> (i & 7)) & 1);
}

function drawCells(context, cells) {
  const { width, height } = context.canvas;
  const [cellWidth, cellHeight] = [width / cells.width, height / cells.height];
  context.fillStyle = 'rgb(56 189 248 / 34%)';
  for (const cell of activeCells(cells)) context.fillRect((cell % cells.width) * cellWidth, Math.floor(cell / cells.width) * cellHeight, cellWidth, cellHeight);
}

function drawZone(context, { name, kind, points }) {
  const { width, height } = context.canvas;
  const colour = ZONES[kind] ?? ZONES.include;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x * width, y * height);
  context.closePath();
  context.globalAlpha = kind === 'exclude' ? 0.22 : 0.08;
  context.fillStyle = colour;
  context.fill('evenodd');
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = Math.max(1.5, width / 480);
  context.setLineDash([width / 80, width / 120]);
  context.stroke();
  context.setLineDash([]);
  const [x, y] = points.reduce((top, point) => (point[1] < top[1] ? point : top));
  const size = textSize(context.canvas, Math.max(12, width / 60), 9);
  drawPlate(context, name, { x: x * width + size * 0.4, y: y * height + size * 0.4, size, colour });
}

function drawTrail(context, points, colour, scale) {
  context.strokeStyle = colour;
  context.lineWidth = Math.max(2, context.canvas.width / 400);
  context.globalAlpha = 0.7;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x * scale, y * scale);
  context.stroke();
  context.globalAlpha = 1;
}

function drawBox(context, finding, scale) {
  const [x, y, width, height] = finding.box.map((value) => value * scale);
  const colour = COLOURS[classOf(finding)];
  const size = textSize(context.canvas, Math.max(15, context.canvas.width / 46), 11);
  context.lineWidth = Math.max(2, context.canvas.width / 320);
  context.strokeStyle = colour;
  // Nobody looked at a track that is held: the gate was closed over it.
  context.setLineDash(finding.status === 'held' ? [size * 0.6, size * 0.4] : []);
  context.beginPath();
  context.roundRect(x, y, width, height, size * 0.5);
  context.stroke();
  context.setLineDash([]);
  const text = `${nameOf(finding)}${finding.track === undefined ? '' : ` #${finding.track}`} · ${finding.identity ? finding.identity.similarity.toFixed(2) : percent(finding.score)}`;
  drawPlate(context, text, { x, y: y > size * 2 ? y - size * 1.9 : y + height + size * 0.3, size, colour });
}

/** Pixels of the canvas for text that is at least `least` CSS pixels high: a phone shows the canvas at a quarter of its size. */
function textSize(canvas, size, least) {
  return Math.round(Math.max(size, (least * canvas.width) / (canvas.clientWidth || canvas.width)));
}

/** Dark text on a plate, which can be read over any picture. The plate stays within the picture. */
function drawPlate(context, text, { x, y, size, colour }) {
  const { width, height } = context.canvas;
  context.font = `600 ${size}px system-ui, sans-serif`;
  const plateWidth = context.measureText(text).width + size;
  const left = Math.min(Math.max(0, x), width - plateWidth);
  const top = Math.min(y, height - size * 1.6);
  context.fillStyle = colour;
  context.beginPath();
  context.roundRect(left, top, plateWidth, size * 1.6, size * 0.4);
  context.fill();
  context.fillStyle = '#04130d';
  context.textBaseline = 'middle';
  context.fillText(text, left + size * 0.5, top + size * 0.84);
}
