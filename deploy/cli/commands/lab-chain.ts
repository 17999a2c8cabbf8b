/** `sterna lab chain`: steps over one model, each on what the one before it made. */
import type { Command } from 'commander';
import { stated } from '../../../runtime/options.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import { collectSamples, countSamples, readSamples } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { runChain, type ChainInput, type ChainReport, type StepRecord } from '../../lab/chain/chain.js';
import { parseChainConfig, type ChainConfig } from '../../lab/chain/config.js';
import { readInputFile, readModelInput } from '../files.js';
import { log, reporting } from '../output.js';
import { choosePictures } from '../pictures.js';
import { stageProgress, type StageProgress } from '../stage-progress.js';
import { formatBytes, formatTable } from '../table.js';

/** Settings of a step that say what it does, as in `macs 0.6, criterion l1`. */
const settingsText = ({ step: { method: _, ...settings } }: StepRecord): string =>
  Object.entries(settings).filter(([, value]) => value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0)).map(([key, value]) => `${key} ${String(value)}`).join(', ');

function reportText(report: ChainReport): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const boxes = report.steps.some((step) => step.boxes !== null);
  const rows = report.steps.map((record, i) => [
    String(i + 1), record.step.method, settingsText(record), formatBytes(record.bytes), record.agreement.toFixed(4), ...(boxes ? [record.boxes?.toFixed(4) ?? ''] : []),
    record.figures['kept'] === false ? 'did not help: undone' : '',
  ]);
  return [
    formatTable([right('step'), { title: 'method' }, { title: 'settings' }, right('size'), right('agreement'), ...(boxes ? [right('boxes kept')] : []), { title: 'notes' }], rows),
    '',
    `${formatBytes(report.input_bytes)} -> ${formatBytes(report.output_bytes)}; agreement with the original on ${report.judged_samples} samples that no step saw (cosine of the outputs without their mean over the samples)`,
    ...(report.resumed === 0 ? [] : [`${report.resumed} of ${report.steps.length} steps had been made before the interruption`]),
    `written to ${report.model}`,
  ].join('\n');
}

/** The model and the samples of a chain. */
async function inputOf(self: Command, config: ChainConfig, view: StageProgress): Promise<ChainInput> {
  const bytes = await readModelInput(config.model);
  const { shapes, notes } = await chooseShapes(bytes, { shapes: config.shapes }, config.data);
  for (const note of notes) log(self, `sterna: ${note}`);
  const pictures = await choosePictures(self, bytes, shapes, config.data, stated(config.pictures));
  const total = await countSamples(config.data, config.samples);
  const samples = await collectSamples(readSamples(config.data, modelInputs(bytes, { shapes }), config.samples, pictures), (done) => view.update('reading samples', done, total));
  return { bytes, samples, shapes, agreement: agreementOfModel(bytes, { shapes }) };
}

export function addChains(lab: Command): void {
  lab
    .command('chain')
    .summary('prune, distil, quantize and more, one after the other')
    .description('Carries out the steps that a file lists (prune, distil, quantize, sparsify, minifloat), each on the model that the step before it made; no labels are needed. An interrupted chain goes on at the step where it was when it is started again. Needs onnxruntime-node.')
    .argument('<lab.yaml>', 'the model, the data and the steps')
    .requiredOption('-o, --output <folder>', 'where the model, those of the steps, and the record of the chain go')
    .action(reporting(async (self, path: string, { output }: { output: string }) => {
      const config = parseChainConfig(Buffer.from(await readInputFile(path)).toString('utf8'), path);
      const view = stageProgress(self);
      try {
        const report = await runChain(config, await inputOf(self, config, view), output, { onStage: (stage, done, total, detail) => view.update(stage, done, total, detail) });
        return { json: { ...report }, text: reportText(report) };
      } finally {
        view.clear();
      }
    }));
}
