/** Weights in floats of few bits, without any tuning: what the outputs of published float models keep, and what tasks lose. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { endsOf } from '../../../runtime/onnx/heads.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { simplifyOnnx } from '../../../runtime/optimize/optimize.js';
import { modelInputs, modelPorts } from '../../../runtime/quantize/prepare/read-model.js';
import { spread } from '../../../runtime/quantize/observe/calibrate.js';
import { centredCosine, outputsOf } from '../../../runtime/quantize/report/fidelity.js';
import { createSession } from '../../../runtime/session.js';
import { preparedAs } from '../../compress/picture-options.js';
import { randomFeeds } from '../../compress/random.js';
import type { Feeds } from '../../compress/samples.js';
import { listClips, samplesOf } from '../../lab/clips.js';
import { toMinifloats } from '../../lab/methods/minifloats.js';
import { pictureOf } from '../../run/recognize.js';
import type { Absent, Bar } from '../bars.js';
import { readFaces } from './faces.js';
import type { LabBenchOptions } from './options.js';
import { knownInputs } from '../known-inputs.js';
import { fed, picturesOf } from '../pictures.js';
import { answers, detectorTask, verification } from './pruning.js';

type Options = LabBenchOptions & { models: string; samples: string };

/** Samples of each model. */
const count = 8;
/** The width that the bar is for, and those of the curve. */
const judged = 11;
const curve = [6, 7, 8, 9, 10, judged, 12, 13, 14, 15, 16];

/** Models by what they are fed with. */
const feeding: Readonly<Record<string, 'pictures' | 'grey' | 'faces' | 'waves' | 'random'>> = {
  fr_detect: 'pictures', 'version-RFB-320': 'pictures', yunet_n_320_320: 'pictures', nanodet_m_320: 'pictures', yolox_nano: 'pictures', ssd_mobilenet_v2_fpnlite_320_w8: 'pictures', mobilenet_v2_224_f32: 'pictures', vww_96_float: 'pictures',
  fr_landmark: 'grey', fr_feature: 'faces', yamnet_w8: 'waves', silero_vad_v6: 'waves', kws_ref_model_float32: 'random',
};

/** Weights that only their size made 8-bit as floats: what the others are compared with. */
const floatForm = (bytes: Uint8Array): Uint8Array => serializeModel(graphToOnnx(simplifyOnnx(graphFromOnnx(parseModel(bytes)))));

/** Windows of recordings, from their middles, with what else the model takes: silence before, and the rate. */
async function waves(model: Uint8Array, shapes: Readonly<Record<string, readonly number[]>>, folder: string): Promise<Feeds[]> {
  const inputs = modelInputs(model, { shapes });
  const { files } = await listClips(folder);
  return Promise.all(spread(files, count).map(async ({ name }) => {
    const samples = await samplesOf(join(folder, name), 16_000);
    return Object.fromEntries(inputs.map(({ name: input, type, dims }) => {
      const size = dims.reduce((product, dim) => product * dim, 1);
      const wave = dims.length === 2 ? samples.slice(Math.floor(samples.length / 2), Math.floor(samples.length / 2) + size) : new Float32Array(size);
      return [input, type === 'int64' ? { type, dims, data: new BigInt64Array(size).fill(16_000n) } : { type: 'float32' as const, dims, data: wave }];
    }));
  }));
}

async function feedsOf(name: string, model: Uint8Array, shapes: Readonly<Record<string, readonly number[]>>, { samples }: Options): Promise<Feeds[]> {
  const inputs = modelInputs(model, { shapes });
  const [input] = inputs;
  const folder = join(samples, 'coco128', 'images');
  switch (feeding[name]) {
    case 'faces': return input === undefined ? [] : spread(await readFaces(join(samples, 'orl'), input), count).map(({ feeds }) => feeds);
    case 'waves': return waves(model, shapes, join(samples, 'esc10'));
    case 'pictures': case 'grey': {
      const assumed = pictureOf({ ...modelPorts(model, { shapes }), ends: endsOf(model) });
      return fed(model, folder, spread((await picturesOf(folder)).judged, count), preparedAs(assumed, feeding[name] === 'grey' ? { channels: 'gray' } : {}));
    }
    default: return Array.from({ length: count }, (_, i) => randomFeeds(inputs, i + 1));
  }
}

async function modelBar(name: string, options: Options): Promise<Bar> {
  const stored = await readFile(join(options.models, `${name}.onnx`));
  const { shapes = {} } = knownInputs(name).sizes;
  const model = name.endsWith('_w8') ? floatForm(stored) : stored;
  const feeds = await feedsOf(name, model, shapes, options);
  const outputs = async (bytes: Uint8Array): Promise<Feeds[]> => {
    const session = await createSession(bytes, { engine: 'onnxruntime', shapes });
    return outputsOf(session, feeds).finally(() => session.close()) as Promise<Feeds[]>;
  };
  const expected = await outputs(model);
  const cosines = new Map<number, number>();
  let size = 1;
  for (const bits of curve) {
    options.signal.throwIfAborted();
    const { model: made, report } = await toMinifloats(model, { bits, sizes: { shapes } });
    cosines.set(bits, centredCosine(expected, await outputs(made)));
    if (bits === judged) size = report.output_bytes / report.input_bytes;
  }
  const value = cosines.get(judged) ?? 0;
  const text = [...cosines].map(([bits, cosine]) => `${bits}: ${cosine.toFixed(4)}`).join(', ');
  return { id: `lab.minifloat_${name}`, what: `centred cosine of the outputs with weights of ${judged} bits (${(100 * size).toFixed(0)} % of the file; ${feeds.length} samples; by bits ${text})`, value, unit: '', bar: '>= 0.999', met: value >= 0.999 };
}

/** What the tasks of an embedder and a detector lose with 11 bits, in points. */
async function taskBars(options: Options): Promise<Bar[]> {
  const bars: Bar[] = [];
  const add = (id: string, what: string, value: number): void => void bars.push({ id: `lab.minifloat_task_${id}`, what, value, unit: 'points', bar: '<= 0.3', met: value <= 0.3 });
  const task = await detectorTask(options);
  if (!('absent' in task)) {
    const model = floatForm(task.model);
    const [before, after] = [await task.scoreOf(model), await task.scoreOf((await toMinifloats(model, { bits: judged })).model)];
    add('ssd', `AP50 lost with weights of ${judged} bits on ${task.judged.length} pictures (float32 ${before.toFixed(2)})`, before - after);
  }
  const [path, folder] = [join(options.models, 'fr_feature.onnx'), join(options.samples, 'orl')];
  if (existsSync(path) && existsSync(folder)) {
    const model = await readFile(path);
    const [input] = modelInputs(model);
    const faces = input === undefined ? [] : await readFaces(folder, input);
    const areaOf = async (bytes: Uint8Array): Promise<number> => 100 * verification(await answers(bytes, faces.map(({ feeds }) => feeds)), faces);
    const [before, after] = [await areaOf(model), await areaOf((await toMinifloats(model, { bits: judged })).model)];
    add('fr_feature', `area under the curve of verification lost with weights of ${judged} bits, ${faces.length} faces (float32 ${before.toFixed(2)})`, before - after);
  }
  return bars;
}

export async function minifloatBars(options: Options): Promise<Bar[] | Absent> {
  const there = Object.keys(feeding).filter((name) => existsSync(join(options.models, `${name}.onnx`)));
  if (there.length === 0) return { absent: `there is none of ${Object.keys(feeding).join(', ')} in ${options.models}` };
  const bars: Bar[] = [];
  for (const name of there) bars.push(await modelBar(name, options));
  return [...bars, ...await taskBars(options)];
}
