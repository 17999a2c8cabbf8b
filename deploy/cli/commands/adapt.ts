import { Option, type Command } from 'commander';
import { applyThresholds } from '../../../runtime/adapt/apply.js';
import { overlayHash, writeOverlay } from '../../../runtime/adapt/overlay.js';
import type { StageAdaptation } from '../../../runtime/adapt/package-adapter.js';
import { openSource } from '../../../runtime/media/source.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { adaptToFootage, type FootageAdaptation } from '../../compress/adapt.js';
import { DeployError } from '../../errors.js';
import { openAny } from '../../run/open-any.js';
import { modelKinds } from '../../run/recognize.js';
import { writeOutputFile } from '../files.js';
import { addModelOptions, type ModelArguments } from '../model-options.js';
import { integer, positive } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { stageProgress } from '../stage-progress.js';
import { formatTable } from '../table.js';

interface AdaptCommand extends ModelArguments {
  input: string;
  output: string;
  limit: number;
  fps?: number;
  threads: number;
}

const phases = { observe: 'observing', try: 'trying thresholds of', judge: 'judging' } as const;

function rowOf({ stage, report, reason }: StageAdaptation): string[] {
  if (report === null) return [stage, '', '', '', reason ?? ''];
  const { moved, movable, groups, error_before: before, error_after: after } = report;
  return [stage, `${moved} of ${movable} (${groups})`, before.toExponential(2), after.toExponential(2), reason ?? `${(100 * (1 - after / before)).toFixed(0)} % won back`];
}

function textOf({ stages, frames, findings, reason }: FootageAdaptation, written: string): string {
  const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' });
  const shares = (kind: 'boxes' | 'identities' | 'classes'): string[] => {
    const [before, after] = [findings?.before[kind], findings?.after[kind]];
    return before == null && after == null ? [] : [`${kind} ${(100 * (before ?? 1)).toFixed(1)} -> ${(100 * (after ?? 1)).toFixed(1)} %`];
  };
  const agreed = findings === null ? [] : (['boxes', 'identities', 'classes'] as const).flatMap(shares);
  return [
    formatTable([{ title: 'stage' }, right('thresholds moved'), right('error before'), right('after'), { title: '' }], stages.map(rowOf)),
    '',
    `${frames} frames. Error: what rounding activations changes in the outputs, as a share of what varies in them, on pictures that were not tuned on.`,
    ...(agreed.length === 0 ? [] : [`Agreement with unrounded activations on ${findings?.frames ?? 0} other frames: ${agreed.join(', ')}`]),
    reason === null ? written : `NOT ADAPTED: ${reason}`,
  ].join('\n');
}

/** Of a package an overlay, of a model the model itself. */
function outputOf(modelPackage: ModelPackage, { models }: FootageAdaptation, isPackage: boolean): Uint8Array {
  if (isPackage) return writeOverlay(modelPackage, models);
  const [[path, thresholds] = ['', []]] = models;
  return applyThresholds(modelPackage.file(path), thresholds);
}

export function register(program: Command): void {
  addModelOptions(program
    .command('adapt')
    .summary('adapt the thresholds of a quantized model to a camera, without labels')
    .description('Moves the scales and zero-points of activations of an int8 model to what a camera sees, within half and twice their size; codes of weights stay. The judge is the model itself without rounding activations, on pictures that were not tuned on. A package gets an overlay, a small file beside it that sterna run --overlay uses; a model is written anew. Devices do the same by themselves with adapt of their pipeline.')
    .argument('<package-or-model>', 'a .sterna package or an .onnx model with 8-bit activations')
    .requiredOption('--input <footage>', 'a video, a folder of pictures, or a camera: what the device sees, at least some dozen frames')
    .requiredOption('-o, --output <file>', 'where the overlay of a package goes, or the adapted model')
    .option('--limit <n>', 'look at n frames at most', integer(1), 400)
    .option('--fps <n>', 'frames per second of a video', positive)
    .option('--threads <n>', 'threads of the engine', integer(1), 1)
    .addOption(new Option('--kind <kind>', 'of a model: what it is for').choices(Object.keys(modelKinds))))
    .action(reporting(async (self, path: string, options: AdaptCommand) => {
      const { input, output, limit, fps, threads } = options;
      const isPackage = path.toLowerCase().endsWith('.sterna');
      if (!isPackage && !path.toLowerCase().endsWith('.onnx')) throw new DeployError('E_USAGE', `Expected a .sterna package or an .onnx model but received ${path}`);
      const modelPackage = await openAny(path, options, (text) => log(self, `sterna: ${text}`));
      const view = stageProgress(self);
      const result = await adaptToFootage(modelPackage, openSource(input, fps === undefined ? {} : { fps }), {
        engine: { threads }, limit,
        onFrame: (done) => view.update('looking', done, null),
        onStep: ({ phase, stage, done, total }) => view.update(`${phases[phase]} ${stage}`, done, total),
      }).finally(() => view.clear());
      const bytes = result.reason === null ? outputOf(modelPackage, result, isPackage) : null;
      if (bytes !== null) await writeOutputFile(output, bytes);
      const sha256 = bytes === null ? null : overlayHash(bytes);
      const { stages, frames, findings, reason } = result;
      const use = isPackage ? `: sterna run ${path} --overlay ${output}` : '';
      return { json: { output: bytes === null ? null : output, sha256, adapted: bytes !== null, reason, frames, stages, findings }, text: textOf(result, `written to ${output}${use}`), exitCode: bytes === null ? exitCodes.failed : exitCodes.ok };
    }));
}
