import sharp from 'sharp';
import type { Image } from '../../runtime/frame.js';
import type { Finding } from '../../runtime/stages/finding.js';

/** Colours that are told apart on most pictures; a label, a track or a person always has the same one. */
const colors = ['#e6194b', '#3cb44b', '#4363d8', '#f58231', '#911eb4', '#008080', '#9a6324', '#800000', '#808000', '#000075'] as const;

const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, '');

function colorOf(key: string): string {
  const hash = [...key].reduce((sum, char) => (Math.imul(sum, 31) + (char.codePointAt(0) ?? 0)) >>> 0, 7);
  return colors[hash % colors.length] ?? colors[0];
}

/** What has a colour of its own: a person, else a track, else a label. */
function keyOf(finding: Finding): string {
  if (finding.type === 'class' || finding.type === 'sound') return finding.label;
  const { identity, track, label } = finding;
  return identity?.name ?? (track === undefined ? label : `${label} #${track}`);
}

/** What is written beside a finding: name or label, track, percentage. */
function caption(finding: Finding): string {
  const percent = `${Math.round(finding.score * 100)} %`;
  if (finding.type === 'class' || finding.type === 'sound') return `${finding.label} ${percent}`;
  const { identity, track, label, liveness } = finding;
  return `${identity?.name ?? (liveness?.live === false ? `picture of a ${label}` : label)}${track === undefined ? '' : ` #${track}`} ${percent}`;
}

/** A line of text on a plate of its own; `y` is its upper edge. */
function plate(text: string, { x, y, color, size }: { x: number; y: number; color: string; size: number }): string {
  const width = Math.ceil(text.length * size * 0.6) + size / 2;
  return `<rect x="${x}" y="${y}" width="${width}" height="${size * 1.3}" fill="${color}"/>`
    + `<text x="${x + size / 4}" y="${y + size}" font-family="sans-serif" font-size="${size}" fill="#fff">${escaped(text)}</text>`;
}

/** Findings as an SVG of the picture's size: boxes with their points and captions, and what the whole picture shows in its upper left corner. */
export function overlaySvg({ width, height }: Pick<Image, 'width' | 'height'>, findings: readonly Finding[]): string {
  const size = Math.max(10, Math.round(Math.min(width, height) / 30));
  const stroke = Math.max(2, Math.round(size / 6));
  let line = 0;
  const parts = findings.map((finding) => {
    const color = colorOf(keyOf(finding));
    if (finding.type === 'class' || finding.type === 'sound') return plate(caption(finding), { x: 0, y: line++ * size * 1.3, color, size });
    const [x, y, w, h] = finding.box;
    const points = (finding.landmarks ?? []).map(([px, py]) => `<circle cx="${px}" cy="${py}" r="${stroke}" fill="${color}"/>`).join('');
    const above = y - size * 1.3;
    return `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="none" stroke="${color}" stroke-width="${stroke}"/>${points}${plate(caption(finding), { x: Math.max(0, x), y: above < 0 ? Math.max(0, y) : above, color, size })}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${parts.join('')}</svg>`;
}

/** The picture with its findings drawn on a copy. */
export async function drawFindings(image: Image, findings: readonly Finding[]): Promise<Image> {
  const { width, height, data } = image;
  if (findings.length === 0) return image;
  const drawn = await sharp(data, { raw: { width, height, channels: 3 } })
    .composite([{ input: Buffer.from(overlaySvg(image, findings)), top: 0, left: 0 }]).removeAlpha().raw().toBuffer();
  return { width, height, data: drawn };
}
