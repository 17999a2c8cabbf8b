import type { NodeTestResult, Outcome } from './run.js';

export type Counts = Readonly<Record<Outcome, number>>;

export interface OperatorRow extends Counts {
  readonly operator: string;
  /** Names of the refused tests by code, without `test_`. */
  readonly refusals: Readonly<Record<string, readonly string[]>>;
}

export function countOutcomes(results: readonly NodeTestResult[]): Counts {
  const count = (outcome: Outcome): number => results.filter((result) => result.outcome === outcome).length;
  return { passed: count('passed'), wrong: count('wrong'), refused: count('refused') };
}

export const total = ({ passed, wrong, refused }: Counts): number => passed + wrong + refused;

/** "97.3 %", rounded down: 99.96 % is not all. */
export const share = (counts: Counts): string => `${(Math.floor((1000 * counts.passed) / Math.max(1, total(counts))) / 10).toFixed(1)} %`;

function groupBy<T>(list: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

/** One row an operator, in order of their names. */
export function tabulate(results: readonly NodeTestResult[]): OperatorRow[] {
  const rows = [...groupBy(results, ({ operator }) => operator)].map(([operator, list]): OperatorRow => {
    const refused = groupBy(list.filter(({ outcome }) => outcome === 'refused'), ({ code }) => code ?? '');
    const refusals = Object.fromEntries([...refused].map(([code, tests]) => [code, tests.map(({ name }) => name.replace(/^test_/, ''))]));
    return { operator, ...countOutcomes(list), refusals };
  });
  return rows.sort((a, b) => (a.operator < b.operator ? -1 : 1));
}

const refusalText = ({ refusals }: OperatorRow, withNames: boolean): string =>
  Object.entries(refusals).map(([code, names]) => `${code}${withNames ? `: ${names.join(', ')}` : ` x ${names.length}`}`).join('; ');

function markdownRows(rows: readonly OperatorRow[], withNames: boolean): string {
  const body = rows.map((row) => `| ${row.operator} | ${row.passed} | ${row.wrong} | ${row.refused} | ${refusalText(row, withNames)} |`);
  return ['| operator | passed | wrong | refused | what is refused |', '| --- | ---: | ---: | ---: | --- |', ...body].join('\n');
}

export const sentence = (counts: Counts = { passed: 0, wrong: 0, refused: 0 }): string => `${counts.passed} of ${total(counts)} passed (${share(counts)}), ${counts.wrong} wrong, ${counts.refused} refused`;

/** The table as the documentation has it, what is in scope first. */
export function markdown(results: readonly NodeTestResult[]): string {
  const [counting, others] = [results.filter(({ counts }) => counts), results.filter(({ counts }) => !counts)];
  return [
    '## In scope: floats, whole numbers and booleans', '', `${sentence(countOutcomes(counting))}.`, '', markdownRows(tabulate(counting), true), '',
    '## Out of scope: strings', '', `${sentence(countOutcomes(others))}.`, '', markdownRows(tabulate(others), false),
  ].join('\n');
}
