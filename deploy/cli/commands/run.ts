import { InvalidArgumentError, Option, type Command } from 'commander';
import type { Affinity } from '../../../kernels/binding/affinity.js';
import { isas, type Isa } from '../../../kernels/binding/native.js';
import { withOverlay } from '../../../runtime/adapt/overlay.js';
import type { RuntimeError } from '../../../runtime/errors.js';
import { openSoundSource } from '../../../runtime/media/sound.js';
import { openSource } from '../../../runtime/media/source.js';
import { createPipeline } from '../../../runtime/pipeline/create.js';
import { enrolPictures } from '../../../runtime/pipeline/enrol.js';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import { readGalleryKey } from '../../../runtime/pipeline/gallery-key.js';
import type { Gallery, Pipeline } from '../../../runtime/pipeline/types.js';
import type { EngineName } from '../../../runtime/session-types.js';
import type { Drawing } from '../../run/draw.js';
import { openAny, withSettings } from '../../run/open-any.js';
import { readInputFile, readJson } from '../files.js';
import { parsePipeline } from '../../../runtime/kinds/registry.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { DeployError } from '../../errors.js';
import { modelKinds } from '../../run/recognize.js';
import { runFrames, type RunSummary } from '../../run/run.js';
import { addModelOptions, type ModelArguments } from '../model-options.js';
import { affinityOption, engineOption, integer, positive } from '../options.js';
import { emit, log, reporting, type Report } from '../output.js';
import { formatTable } from '../table.js';

interface Enrol {
  name: string;
  source: string;
}

interface RunOptions extends ModelArguments {
  input: string;
  limit?: number;
  gallery: string;
  keyFile?: string;
  enrol: Enrol[];
  engine: EngineName;
  threads: number;
  affinity: Affinity;
  isa?: Isa;
  motion: boolean;
  incremental?: boolean;
  gates?: string;
  overlay?: string;
  track?: boolean;
  realtime: boolean;
  loop: boolean;
  fps?: number;
  events: boolean;
  cache?: string;
  draw?: string;
}

/** Of a video, enrolment looks at one frame a second. Pictures of a folder are not paced, so all of them count. */
const enrolmentFps = 1;

function enrolArgument(text: string, previous: Enrol[]): Enrol[] {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError(`Expected NAME=PICTURE but received ${text}`);
  return [...previous, { name: text.slice(0, at), source: text.slice(at + 1) }];
}

async function enrolAll(self: Command, pipeline: Pipeline, gallery: Gallery, people: readonly Enrol[], signal: AbortSignal): Promise<void> {
  for (const { name, source } of people) {
    const { person, pictures, skipped } = await enrolPictures(pipeline, gallery, name, openSource(source, { signal, fps: enrolmentFps }));
    const reasons = Object.entries(skipped).map(([reason, count]) => `, ${count} skipped: ${reason}`).join('');
    log(self, `sterna: enrolled ${name}: ${person.samples} samples from ${pictures} pictures${reasons}`);
  }
}

function heardText(chunks: number, exits: RunSummary['exits'], { events, late, audited, missed }: NonNullable<RunSummary['sound']>): string {
  const heard = Object.entries(events).map(([label, count]) => `${label} ${count}`).join(', ') || 'nothing';
  return `${chunks} pieces of sound (${exits['silence'] ?? 0} stopped at the gate, ${late} dropped because they would have been late); events: ${heard}; checks of the gate: ${audited}, of them missed: ${missed}`;
}

/** @throws DeployError E_USAGE for a pipeline that always computes everything */
function inParts({ manifest: { pipeline } }: ModelPackage): true {
  if (Object.keys(parsePipeline(pipeline).override({ incremental: true }).increments).length > 0) return true;
  throw new DeployError('E_USAGE', `Expected a pipeline of the kind detection for --incremental but received one of the kind ${pipeline.kind}, which computes every frame as a whole; leave the option out`);
}

function summaryText({ sound, frames, dropped, findings, recognized, exits, total, stages }: RunSummary): string {
  const rows = [...stages, { stage: 'total', ...total }]
    .map(({ stage, count, p50_ms, p99_ms, max_ms }) => [stage, String(count), p50_ms.toFixed(3), p99_ms.toFixed(3), max_ms.toFixed(3)]);
  const people = Object.entries(recognized).map(([name, count]) => `${name} in ${count}`).join(', ') || 'nobody';
  return [
    formatTable([{ title: 'stage' }, ...['frames', 'p50 ms', 'p99 ms', 'max ms'].map((title) => ({ title, align: 'right' as const }))], rows),
    '',
    sound === undefined
      ? `${frames} frames (${exits.pixels ?? 0} stopped at the pixel gate, ${exits.features ?? 0} at the feature gate, ${exits.partial ?? 0} computed in part, ${dropped} dropped), ${findings} findings; recognized: ${people}`
      : heardText(frames, exits, sound),
  ].join('\n');
}

async function run(self: Command, path: string, options: RunOptions): Promise<Report> {
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const gallery = openGallery(options.gallery, options.keyFile === undefined ? {} : { key: readGalleryKey(options.keyFile) });
  let pipeline: Pipeline | undefined;
  let drawing: Drawing | undefined;
  try {
    const { engine, threads, affinity, isa, motion, incremental, track, realtime, loop, fps, limit, events, cache: dir } = options;
    const cache = dir === undefined ? {} : { cache: { dir, onWarning: (warning: RuntimeError) => log(self, `sterna: ${warning.message}`) } };
    // Before the model is opened: a wrong name or a missing ffmpeg is told at once.
    drawing = options.draw === undefined ? undefined : (await import('../../run/draw.js')).openDrawing(options.draw, fps);
    const opened = await openAny(path, options, (text) => log(self, `sterna: ${text}`));
    const adapted = options.overlay === undefined ? opened : withOverlay(opened, await readInputFile(options.overlay));
    const modelPackage = options.gates === undefined ? adapted : withSettings(adapted, await readJson(options.gates));
    pipeline = await createPipeline(modelPackage, { gallery, engine, threads, affinity, motionGate: motion, ...(incremental === undefined ? {} : { incremental: inParts(modelPackage) }), ...(track === undefined ? {} : { tracking: track }), ...(isa === undefined ? {} : { isa }), ...cache });
    await enrolAll(self, pipeline, gallery, options.enrol, stop.signal);
    const playing = { realtime, loop, signal: stop.signal };
    const { sound } = pipeline;
    const source = sound === undefined
      ? openSource(options.input, { ...playing, ...(fps === undefined ? {} : { fps }) })
      : openSoundSource(options.input, { ...playing, rate: sound.rate, step: sound.step });
    const summary = await runFrames(pipeline, source, {
      limit, drawing,
      onFrame: (line) => {
        if (!events || line.findings.length > 0) emit(self, { json: { ...line }, text: JSON.stringify(line) });
      },
    });
    await drawing?.close();
    if (self.optsWithGlobals<{ json?: boolean }>().json !== true) log(self, summaryText(summary));
    return { json: { ...summary }, text: JSON.stringify(summary) };
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    await drawing?.discard();
    await pipeline?.close();
    gallery.close();
  }
}

export function register(program: Command): void {
  const command = program
    .command('run')
    .summary('run a pipeline over pictures, a video or a camera')
    .description('Runs a package (.sterna), a model (.onnx), or a pipeline (.json that names model files) over a source. What a model is (a detector and its family, a classifier, an embedder) is recognized from its outputs; what was assumed is printed, and options replace it. Prints one JSON line for each frame and then a summary line on stdout, and a table of the summary on stderr.')
    .argument('<pipeline-or-package>', 'a .sterna package, an .onnx model, or a .json file with kind, models (a path for each stage) and pipeline')
    .requiredOption('--input <source>', 'a folder of pictures, a picture, a video, rtsp://... or /dev/videoN; for a pipeline that listens: a file of sound or a video, rtsp://..., alsa:DEVICE, pulse:SOURCE or pcm:FORMAT:RATE:CHANNELS on standard input')
    .option('--limit <n>', 'stop after n frames', integer(1))
    .option('--gallery <file>', 'database of enrolled people', ':memory:')
    .option('--key-file <file>', 'key file of an encrypted gallery; a plain gallery is encrypted with it')
    .option('--enrol <name=picture>', 'first enroll a person from a picture, a folder or a video; may be repeated', enrolArgument, [])
    .addOption(engineOption('--engine <engine>', 'engine that runs the models').default('native'))
    .option('--threads <n>', 'threads of the engine', integer(1), 1)
    .addOption(affinityOption)
    .addOption(new Option('--isa <isa>', 'kernel variant of the native engine; the best by default').choices(isas))
    .option('--no-motion', 'run the whole pipeline on every frame, even if nothing moves')
    .option('--track', 'follow what is found from frame to frame; the default of a package is its own, that of a detector is not to')
    .option('--no-track', 'look at every frame by itself')
    .option('--incremental', 'of a detector, compute only what has changed in the picture; findings differ a little from those of full runs')
    .option('--overlay <file>', 'thresholds that sterna adapt, or a device, adapted to a camera')
    .option('--gates <file>', 'settings of the gates that sterna gate calibrate wrote')
    .option('--realtime', 'play files at their own frame rate and drop late frames, like a camera', false)
    .option('--loop', 'start again at the end', false)
    .option('--fps <n>', 'frames per second', positive)
    .option('--cache <folder>', 'keep compiled models in this folder, so that the next start takes milliseconds')
    .addOption(new Option('--kind <kind>', 'of a model: what it is for').choices(Object.keys(modelKinds)))
    .option('--draw <file>', 'also write the frames with what was found: .png or .jpg (later frames as FILE-2, FILE-3, ...), or .mp4')
    .option('--events', 'print only frames in which something was found', false);
  addModelOptions(command).action(reporting(run));
}
