// What vitest's JSON report says, for the summary of npm test.
import { relative } from 'node:path';

/** The first line of a message, without the colours of a terminal. */
const firstLine = (message) => (message ?? '').split('\n')[0].replaceAll(/\u001b\[[\d;]*m/g, '').slice(0, 200);

/**
 * Counts, the skipped tests by file and outermost title, and the failed ones by file and title with the first line of what is wrong. Tests that passed
 * at their second try are named in the same way, because they depend on something that they should not depend on.
 */
export function countsOf(report, status, root) {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numFailedTestSuites, testResults } = report;
  const failed = numFailedTests === 0 && (status !== 0 || numFailedTestSuites > 0) ? Math.max(1, numFailedTestSuites) : numFailedTests;
  const ofStatus = (statuses, line) => testResults.flatMap(({ name, assertionResults }) => assertionResults
    .filter((test) => statuses.includes(test.status)).map((test) => line(relative(root, name), test)));
  const skips = ofStatus(['pending', 'skipped', 'todo', 'disabled'], (file, { ancestorTitles, title }) => `skip ${file}: ${ancestorTitles[0] ?? title}`);
  const named = (verdict) => (file, { fullName, failureMessages }) => `${verdict} ${file}: ${fullName}: ${firstLine(failureMessages[0])}`;
  const failures = ofStatus(['failed'], named('fail'));
  const retried = ofStatus(['passed'], (file, test) => (test.failureMessages.length > 0 ? named('passed at the second try')(file, test) : '')).filter(Boolean);
  const files = testResults.filter(({ status: end, assertionResults }) => end === 'failed' && assertionResults.every((test) => test.status !== 'failed'))
    .map(({ name, message }) => `fail ${relative(root, name)}: ${firstLine(message)}`);
  return { passed: numPassedTests, failed, skipped: numPendingTests + numTodoTests, notes: [...new Set(skips)], failures: [...failures, ...files], retried };
}

/** Errors that no test awaited fail the run, and vitest's report does not have them: the first line of each, once, from what it printed. */
export function unhandledErrors(output) {
  const lines = output.replaceAll(/\u001b\[[\d;]*m/g, '').split('\n');
  const first = lines.flatMap((line, i) => (/ Unhandled (Rejection|Error) /.test(line) ? [`fail unhandled: ${lines[i + 1] ?? ''}`] : []));
  return [...new Set(first)];
}
