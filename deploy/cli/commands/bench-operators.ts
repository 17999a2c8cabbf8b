import type { Command } from 'commander';
import { barsTable, machineOf } from '../../bench/bars.js';
import { benchOperators, operatorBars, operatorModels, type OperatorTimes } from '../../bench/operators.js';
import { DeployError } from '../../errors.js';
import { positive } from '../options.js';
import { reporting } from '../output.js';
import { formatTable } from '../table.js';

interface OperatorsCommand {
  filter: string;
  seconds: number;
}

export function register(program: Command): void {
  program
    .command('bench-operators')
    .summary('measure single operators on native and onnxruntime (npm run bench:operators)')
    .description(
      'Measures models of one operator on 262,144 floats, and encoder layers of transformers, one thread, on Sterna and onnxruntime in turn. A speedup above 1 means that Sterna is faster; the bars are 1 for each operator, by the minima. Times include the copies of input and output.',
    )
    .option('--filter <text>', 'only operators whose names contain this text', '')
    .option('--seconds <n>', 'measuring time of each operator', positive, 1)
    .action(
      reporting(async (_self: Command, { filter, seconds }: OperatorsCommand) => {
        const names = Object.keys(operatorModels).filter((name) => name.includes(filter));
        if (names.length === 0) throw new DeployError('E_BENCH', `Expected an operator whose name contains "${filter}" but found none among ${Object.keys(operatorModels).join(', ')}`);
        const contenders = [{ label: 'native', engine: 'native' }, { label: 'onnxruntime', engine: 'onnxruntime' }] as const;
        const operators: OperatorTimes[] = [];
        for await (const times of benchOperators(names, contenders, { least: 8, most: 2000, milliseconds: 1000 * seconds })) operators.push(times);
        const rows = operators.map(({ name, p50_ms, min_ms, speedup_p50, speedup_min }) => [
          name,
          ...[p50_ms, min_ms].flatMap((times) => ['native', 'onnxruntime'].map((label) => times[label]?.toFixed(3) ?? '-')),
          speedup_p50.toFixed(2),
          speedup_min.toFixed(2),
        ]);
        const right = (title: string) => ({ title, align: 'right' as const });
        const bars = operatorBars(operators);
        const text = formatTable([{ title: 'operator' }, ...['native p50', 'onnxruntime p50', 'native min', 'onnxruntime min', 'speedup p50', 'speedup min'].map(right)], rows);
        return { json: { machine: machineOf(), bars, operators }, text: `${text}\n\n${barsTable(bars)}` };
      }),
    );
}
