import { DeployError } from '../errors.js';
import type { NodeTestResult } from './run.js';
import { markdown } from './table.js';

const marked = /(<!-- conformance:[^\n]*-->\n)(.*?)(\n<!-- \/conformance -->)/s;

/** A document with the table of these results between its markers. @throws DeployError E_FILE: it has no markers */
export function withTable(document: string, results: readonly NodeTestResult[]): string {
  if (!marked.test(document)) throw new DeployError('E_FILE', 'The document has no lines <!-- conformance: ... --> and <!-- /conformance -->');
  return document.replace(marked, (_, open: string, _old: string, close: string) => `${open}${markdown(results)}${close}`);
}

/** Whether a document's table is that of these results. */
export const documented = (document: string, results: readonly NodeTestResult[]): boolean => withTable(document, results) === document;
