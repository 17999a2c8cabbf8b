import type { QuantiseWarning } from '../../runtime/quantise/warnings.js';

/** Warnings of one kind that are written out; a network may have a dead channel in every layer. */
const mostWarnings = 4;

/** What a person is told of a report's warnings, kind by kind; the report has them all. */
export function warningTexts(warnings: readonly QuantiseWarning[]): string[] {
  return [...new Set(warnings.map(({ kind }) => kind))].flatMap((kind) => {
    const messages = warnings.filter((warning) => warning.kind === kind).map(({ message }) => message);
    const rest = messages.length - mostWarnings;
    return [...messages.slice(0, mostWarnings), ...(rest > 0 ? [`the same (${kind}) of ${rest} more layers; \`sterna compress --json\` lists them`] : [])];
  });
}
