import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { share } from '../../stages/contract.js';

/**
 * Which findings of a camera count. All coordinates and sizes are shares of the frame (0..1 from the left and from the top), so that they hold at any
 * resolution. A configuration refuses unknown fields, a message ignores them: both are made of the same fields.
 */

const label = z.string().min(1).max(64);
/** x, y. */
const point = z.tuple([share, share]);

const zoneFields = {
  /** For people, and in the `zones` of a finding. */
  name: z.string().min(1).max(64),
  /** `include`: what is outside of all such zones does not count. `exclude`: what is inside does not count. */
  kind: z.enum(['include', 'exclude']).default('include'),
  /** Corners of the polygon in order, each x and y as shares of the frame; the last one is joined to the first. */
  points: z.array(point).min(3).max(32),
  /** Classes that it is for; absent: all. */
  labels: z.array(label).min(1).max(32).optional(),
  /** Which point of a box must be inside: the middle of its lower edge, where an object stands on the ground, or its center. Default: `foot`, and `center` for faces. */
  anchor: z.enum(['foot', 'center']).optional(),
};

const sizeFields = {
  /** Of the box, as shares of the frame's width, height and area. */
  min_width: share.optional(),
  max_width: share.optional(),
  min_height: share.optional(),
  max_height: share.optional(),
  min_area: share.optional(),
  max_area: share.optional(),
};

/** Three corners on one line enclose nothing: nothing would ever be inside. */
const encloses = (zone: { points: readonly Point[] }): boolean => polygonArea(zone.points) > 0;
const flat = { message: 'expected a polygon that encloses an area', path: ['points'] };

/** All settings of all pipelines of a device go into one message. */
const maxZones = 16;
const labels = z.array(label).min(1).max(100);

/** As a configuration file states them. */
export const strictRuleFields = {
  /** Polygons that say where findings count. */
  zones: z.array(z.strictObject(zoneFields).refine(encloses, flat)).max(maxZones).optional(),
  /** Classes that count; absent: all. */
  labels: labels.optional(),
  /** Smallest and largest boxes that count, by class; `*` is for classes that have no entry. */
  sizes: z.record(label, z.strictObject(sizeFields)).optional(),
};

/** As a message states them. */
export const ruleFields = {
  /** Polygons that say where findings count; an empty list removes those of the configuration. */
  zones: z.array(z.object(zoneFields).refine(encloses, flat)).max(maxZones).optional(),
  /** Classes that count. */
  labels: labels.optional(),
  /** Smallest and largest boxes that count, by class; `*` is for classes that have no entry. */
  sizes: z.record(label, z.object(sizeFields)).optional(),
};

export type Point = readonly [number, number];
export type Anchor = 'foot' | 'center';

export interface Zone {
  name: string;
  kind: 'include' | 'exclude';
  points: readonly Point[];
  labels?: readonly string[] | undefined;
  anchor?: Anchor | undefined;
}

/** Shares of the frame; an absent limit does not limit. */
export type SizeLimits = { readonly [Limit in keyof typeof sizeFields]?: number | undefined };

/** Which findings count; without any field all of them. */
export interface FindingRules {
  zones?: readonly Zone[] | undefined;
  labels?: readonly string[] | undefined;
  sizes?: Readonly<Record<string, SizeLimits>> | undefined;
}

/** Rules that a program states. @throws RuntimeError E_OPTION with each wrong field */
export function checkRules(where: string, rules: FindingRules): FindingRules {
  const result = z.strictObject(strictRuleFields).safeParse(rules);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => `${['rules', ...path].join('.')}: ${message}`);
  throw new RuntimeError('E_OPTION', `The rules of ${where} are invalid: ${issues.slice(0, 5).join('; ')}`, { details: { issues } });
}

/** Area of the polygon by the shoelace formula, without a sign. One that crosses itself has the difference of its parts. */
export function polygonArea(points: readonly Point[]): number {
  let twice = 0;
  for (const [index, [x, y]] of points.entries()) {
    const [nextX, nextY] = points[(index + 1) % points.length] ?? [x, y];
    twice += x * nextY - nextX * y;
  }
  return Math.abs(twice) / 2;
}
