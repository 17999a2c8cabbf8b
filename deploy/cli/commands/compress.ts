import { Option, type Command } from 'commander';
import { modelInputs } from '../../../runtime/quantise/prepare.js';
import { quantiseModel, type QuantiseOptions, type QuantiseReport } from '../../../runtime/quantise/quantise.js';
import { calibrationMethods, type CalibrationMethod } from '../../../runtime/quantise/range.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { readSamples, type PictureOptions } from '../../compress/samples.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { addPictureOptions, engineOption, integer, pictureOptions } from '../options.js';
import { log, reporting } from '../output.js';
import { formatBytes, formatTable } from '../table.js';

interface CompressOptions extends PictureOptions {
  output: string;
  calibrate: string;
  samples: number;
  method: CalibrationMethod;
  percentile: number;
  exclude?: string[];
  biasCorrection: boolean;
  engine?: EngineName;
}

function reportText(report: QuantiseReport, output: string): string {
  const rows = report.layers.map(({ name, op, format, sqnr_db }) => [name, op, format, sqnr_db === null ? 'exact' : sqnr_db.toFixed(1)]);
  return [
    formatTable([{ title: 'layer' }, { title: 'op' }, { title: 'format' }, { title: 'SQNR dB', align: 'right' }], rows),
    '',
    `${formatBytes(report.input_bytes)} -> ${formatBytes(report.output_bytes)} (${((100 * report.output_bytes) / report.input_bytes).toFixed(0)} %), calibrated on ${report.calibration_samples} samples (${report.method})`,
    `mean cosine between int8 and float32 outputs: ${report.output_cosine.toFixed(5)}`,
    `written to ${output}`,
  ].join('\n');
}

export function register(program: Command): void {
  const command = program
    .command('compress')
    .summary('quantize an ONNX model to int8')
    .description('Quantizes a float32 ONNX model to int8 and writes it as QDQ ONNX, with the signal-to-noise ratio of every layer.')
    .argument('<in.onnx>', 'the float32 model')
    .requiredOption('-o, --output <out.onnx>', 'where the quantized model goes')
    .addOption(new Option('--format <format>', 'number format').choices(['int8']).default('int8'))
    .requiredOption('--calibrate <source>', 'a folder of pictures or .npy arrays like those that the model will see, or random:N')
    .option('--samples <n>', 'calibrate on at most n of them, evenly spread', integer(1), 128)
    .addOption(new Option('--method <method>', 'how activation ranges are chosen').choices(calibrationMethods).default('minmax'))
    .option('--percentile <p>', 'for --method percentile: share of values kept, in percent', Number, 99.99)
    .option('--exclude <nodes...>', 'nodes that stay float32')
    .option('--no-bias-correction', 'leave the biases as they are')
    .addOption(engineOption('--engine <engine>', 'runs the calibration; default onnxruntime if installed, else native'));
  addPictureOptions(command).action(
    reporting(async (self, input: string, options: CompressOptions) => {
      const bytes = await readInputFile(input);
      const samples = readSamples(options.calibrate, modelInputs(bytes), options.samples, pictureOptions(options));
      const { method, percentile, biasCorrection, exclude, engine } = options;
      const settings: QuantiseOptions = { method, percentile, biasCorrection, ...(exclude === undefined ? {} : { exclude }), ...(engine === undefined ? {} : { engine }) };
      const { model, report } = await quantiseModel(bytes, samples, settings);
      await writeOutputFile(options.output, model);
      for (const warning of report.warnings) log(self, `sterna: warning: ${warning.message}`);
      return { json: { output: options.output, ...report }, text: reportText(report, options.output) };
    }),
  );
}
