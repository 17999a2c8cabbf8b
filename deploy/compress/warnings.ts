import type { QuantizeWarning } from '../../runtime/quantize/report/warnings.js';

/** At most this many warnings of one kind are printed, because a network may have a dead channel in every layer. */
const mostWarnings = 4;

/** The texts that people read of a report's warnings, grouped by kind; the report contains all warnings. */
export function warningTexts(warnings: readonly QuantizeWarning[]): string[] {
  return [...new Set(warnings.map(({ kind }) => kind))].flatMap((kind) => {
    const messages = warnings.filter((warning) => warning.kind === kind).map(({ message }) => message);
    const rest = messages.length - mostWarnings;
    return [...messages.slice(0, mostWarnings), ...(rest > 0 ? [`the same (${kind}) applies to ${rest} more layers; \`sterna compress --json\` lists them`] : [])];
  });
}
