/** What `sterna doctor` finds: one line for each thing that it looked at, and for each thing that does not work, what to do. */

/** `failed`: the device cannot do its work with this. `warning`: it works, but less well than it could. `none`: not set up, so there is nothing to check. */
export const checkStatuses = ['ok', 'warning', 'failed', 'none'] as const;
export type CheckStatus = (typeof checkStatuses)[number];

export interface Check {
  area: string;
  status: CheckStatus;
  text: string;
  /** What to do about it. */
  remedy?: string;
  /** Numbers and names behind the text, for programs; names carry their units. */
  details?: Readonly<Record<string, unknown>>;
}

/** Functions that make the reports of one area. */
export function checksOf(area: string) {
  const check = (status: CheckStatus) => (text: string, more: Pick<Check, 'remedy' | 'details'> = {}): Check => ({ area, status, text, ...more });
  return { ok: check('ok'), warning: check('warning'), failed: check('failed'), none: check('none') };
}

export function passed(checks: readonly Check[]): boolean {
  return checks.every(({ status }) => status !== 'failed');
}

/** Formats the checks as a table for people. A remedy stands below its line. */
export function formatChecks(checks: readonly Check[]): string {
  const widths = { status: Math.max(...checkStatuses.map((status) => status.length)), area: Math.max(...checks.map(({ area }) => area.length)) };
  const indent = ' '.repeat(widths.status + widths.area + 4);
  return checks.map(({ status, area, text, remedy }) => [
    `${status.padEnd(widths.status)}  ${area.padEnd(widths.area)}  ${text.replaceAll('\n', `\n${indent}`)}`,
    ...(remedy === undefined ? [] : [`${indent}-> ${remedy}`]),
  ].join('\n')).join('\n');
}

