import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Isa } from '../../../kernels/binding/native.js';
import { nodeTestsFolder, readNodeTests } from '../../conformance/node-tests.js';
import { documented, withTable } from '../../conformance/document.js';
import { runNodeTests, type NodeTestResult } from '../../conformance/run.js';
import { countOutcomes, sentence, tabulate, type OperatorRow } from '../../conformance/table.js';
import { DeployError } from '../../errors.js';
import { writeOutputFile } from '../files.js';
import { isaOption } from '../options.js';
import { exitCodes, reporting, type Report } from '../output.js';
import { formatTable } from '../table.js';

interface ConformanceOptions {
  tests: string;
  isa?: Isa;
  write?: string;
  check?: string;
}

const right = (title: string) => ({ title, align: 'right' as const });

function operatorTable(rows: readonly OperatorRow[]): string {
  const cells = rows.map(({ operator, passed, wrong, refused, refusals }) => {
    const codes = Object.entries(refusals).map(([code, names]) => `${code} x ${names.length}`).join(', ');
    return [operator, String(passed), String(wrong), String(refused), codes];
  });
  return formatTable([{ title: 'operator' }, right('passed'), right('wrong'), right('refused'), { title: 'codes' }], cells);
}

function reportOf(results: readonly NodeTestResult[]): Report {
  const all = countOutcomes(results);
  const [inScope, outOfScope] = [true, false].map((wanted) => countOutcomes(results.filter(({ counts }) => counts === wanted)));
  const wrong = results.filter(({ outcome }) => outcome === 'wrong').map(({ name, message }) => `wrong: ${name}: ${message}`);
  const summary = [
    `all: ${sentence(all)}`,
    `in scope (floats, whole numbers, booleans): ${sentence(inScope)}`,
    `out of scope (strings): ${sentence(outOfScope)}`,
  ];
  return {
    json: { all, inScope, outOfScope, operators: tabulate(results), tests: results },
    text: [operatorTable(tabulate(results)), '', ...wrong, ...summary].join('\n'),
  };
}

async function documentText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new DeployError('E_FILE', `${path} cannot be read`, { cause, details: { path } });
  }
}

export function register(program: Command): void {
  program
    .command('conformance')
    .summary('run the ONNX project\'s node tests on this CPU')
    .description('Compiles, loads and runs each node test of the ONNX project with all inputs given at run time. Counts for each operator how many tests passed, gave wrong results, or were refused. Tests on strings are out of scope and counted apart.')
    .option('--tests <folder>', 'folder of the node tests', nodeTestsFolder)
    .addOption(isaOption)
    .option('--write <file.md>', 'write the table between the markers of a document')
    .option('--check <file.md>', 'fail if the table of a document differs')
    .action(
      reporting(async (_self: Command, { tests, isa, write, check }: ConformanceOptions) => {
        const results = await runNodeTests(readNodeTests(tests), isa === undefined ? {} : { isa });
        if (write !== undefined) await writeOutputFile(write, new TextEncoder().encode(withTable(await documentText(write), results)));
        if (check !== undefined && !documented(await documentText(check), results)) {
          throw new DeployError('E_OUTPUT', `The table in ${check} differs from the results of this run; update it with --write ${check}`, { details: { path: check } });
        }
        return { ...reportOf(results), exitCode: countOutcomes(results).wrong === 0 ? exitCodes.ok : exitCodes.failed };
      }),
    );
}
