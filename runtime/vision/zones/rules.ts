import type { Finding } from '../../stages/finding.js';
import type { Anchor, FindingRules, Point, SizeLimits, Zone } from './settings.js';

/** Width and height of a frame, pixels. */
export interface FrameSize {
  width: number;
  height: number;
}

/** Limits of classes that have none of their own. */
const anyLabel = '*';

type LocatedFinding = Extract<Finding, { box: unknown }>;

/** All findings count. */
export const noRules: FindingRules = {};

/**
 * Findings that count, each with the names of the include zones that it is in. A finding without a place in the frame is judged by its class alone.
 * @param anchor of zones that state none
 */
export function applyRules<F extends Finding>(findings: readonly F[], frame: FrameSize, rules: FindingRules, anchor: Anchor = 'foot'): F[] {
  if (rules.zones === undefined && rules.labels === undefined && rules.sizes === undefined) return [...findings];
  return findings.flatMap((finding) => {
    if (!hasLabel(rules.labels, finding.label)) return [];
    if (!('box' in finding)) return [finding];
    if (!hasSize(finding, frame, rules)) return [];
    const zones = zonesOf(finding, frame, rules.zones ?? [], anchor);
    if (zones === null) return [];
    return [zones.length === 0 ? finding : { ...finding, zones }];
  });
}

/** Whether a box of that class counts, so that no further work is spent on one that does not. */
export function counts(detection: LocatedFinding, frame: FrameSize, rules: FindingRules, anchor: Anchor = 'foot'): boolean {
  return applyRules([detection], frame, rules, anchor).length > 0;
}

/** Names of the include zones that the box is in; null when it does not count. */
export function zonesOf({ label, box }: LocatedFinding, { width, height }: FrameSize, zones: readonly Zone[], anchor: Anchor): string[] | null {
  const [x, y, boxWidth, boxHeight] = box;
  const inside: string[] = [];
  let included = true;
  for (const zone of zones) {
    if (!hasLabel(zone.labels, label)) continue;
    const at: Point = [(x + boxWidth / 2) / width, (y + ((zone.anchor ?? anchor) === 'foot' ? boxHeight : boxHeight / 2)) / height];
    const within = contains(zone.points, at);
    if (zone.kind === 'exclude') {
      if (within) return null;
      continue;
    }
    if (within) inside.push(zone.name);
    else included = false;
  }
  return included || inside.length > 0 ? inside : null;
}

/**
 * Even-odd rule: a point is inside when a ray from it to the right crosses the polygon's edges an odd number of times. Each edge owns its upper end, so
 * that a ray through a corner counts once. A point beyond the frame's border is moved onto it, because feet are often cut off there.
 */
export function contains(points: readonly Point[], [atX, atY]: Point): boolean {
  const x = clamped(atX);
  const y = clamped(atY);
  let inside = false;
  for (const [index, [x1, y1]] of points.entries()) {
    const [x2, y2] = points[(index + 1) % points.length] ?? [x1, y1];
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) inside = !inside;
  }
  return inside;
}

/** Into the frame, a hair inside of its right and lower border: an edge there does not contain its own points under the even-odd rule. */
const clamped = (value: number): number => Math.min(1 - 1e-9, Math.max(0, value));

const hasLabel = (labels: readonly string[] | undefined, label: string): boolean => labels === undefined || labels.includes(label);

function hasSize({ label, box: [, , width, height] }: LocatedFinding, frame: FrameSize, { sizes }: FindingRules): boolean {
  const limits = sizes === undefined ? undefined : Object.hasOwn(sizes, label) ? sizes[label] : sizes[anyLabel];
  if (limits === undefined) return true;
  const [w, h] = [width / frame.width, height / frame.height];
  return within(w, limits, 'min_width', 'max_width') && within(h, limits, 'min_height', 'max_height') && within(w * h, limits, 'min_area', 'max_area');
}

function within(value: number, limits: SizeLimits, min: keyof SizeLimits, max: keyof SizeLimits): boolean {
  return value >= (limits[min] ?? 0) && value <= (limits[max] ?? Infinity);
}
