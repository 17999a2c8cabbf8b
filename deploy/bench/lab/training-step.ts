/**
 * The processor time of a training step, batch 32, beside PyTorch's in channels_last: the same networks and optimizer, one thread, turn by turn in one run.
 * Neighbours stretch the time of the clock much more.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { float, int, ints } from '../../../runtime/graph/attributes.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { noise } from '../../../runtime/noise.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { DeployError } from '../../errors.js';
import { labelLoss } from '../../lab/losses.js';
import { DrawnNetwork } from '../../lab/network-writer.js';
import { buildStudent } from '../../lab/students.js';
import { Trainer } from '../../lab/trainer.js';
import { trainingModel } from '../../lab/training-model.js';
import type { Absent, Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';
import { torchScript } from './torch-step.js';

const batch = 32;
const classes = 10;
const threads = 1;
/** Turns that the two take, and steps of a turn. The least median counts, since neighbours only ever add. */
const turns = 3;
const stepsATurn = 4;

/** Inverted residuals of MobileNetV2 (Sandler et al., arXiv 1801.04381): expansion, channels, repeats, stride. */
const residuals: readonly (readonly [number, number, number, number])[] = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
const width = 0.5;
/** Channels in eights, never much fewer than asked for, as its authors round them. */
const channelsOf = (channels: number): number => {
  const wanted = channels * width;
  const rounded = Math.max(8, Math.floor((wanted + 4) / 8) * 8);
  return rounded < 0.9 * wanted ? rounded + 8 : rounded;
};

class MobileNet extends DrawnNetwork {
  conv(x: string, name: string, { inputs, outputs, kernel = 1, stride = 1, group = 1, act = true }: { inputs: number; outputs: number; kernel?: number; stride?: number; group?: number; act?: boolean }): string {
    const pad = (kernel - 1) / 2;
    const w = this.weight(`${name}.w`, [outputs, inputs / group, kernel, kernel], (inputs / group) * kernel * kernel);
    const y = this.node('Conv', [x, w], `${name}.conv`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]), group: int(group) });
    const normed = this.node('BatchNormalization', [y, this.filled(`${name}.s`, outputs, 1), this.filled(`${name}.b`, outputs, 0), this.filled(`${name}.m`, outputs, 0), this.filled(`${name}.v`, outputs, 1)], `${name}.norm`, { epsilon: float(1e-5) });
    return act ? this.node('Clip', [normed, 'zero', 'six'], `${name}.act`) : normed;
  }
}

/** MobileNetV2 of half the width for 96 x 96 pixels. */
function mobileNet(): Uint8Array {
  const w = new MobileNet(5);
  w.weights.set('zero', { dtype: 'float32', dims: [], data: new Float32Array([0]) }).set('six', { dtype: 'float32', dims: [], data: new Float32Array([6]) });
  let channels = channelsOf(32);
  let x = w.conv('input', 'stem', { inputs: 3, outputs: channels, kernel: 3, stride: 2 });
  residuals.forEach(([expansion, wanted, repeats, first], stage) => {
    for (let i = 0; i < repeats; i++) {
      const [name, inner, outputs, stride] = [`b${stage}.${i}`, channels * expansion, channelsOf(wanted), i === 0 ? first : 1];
      const wide = expansion === 1 ? x : w.conv(x, `${name}.expand`, { inputs: channels, outputs: inner });
      const seen = w.conv(wide, `${name}.depthwise`, { inputs: inner, outputs: inner, kernel: 3, stride, group: inner });
      const out = w.conv(seen, `${name}.project`, { inputs: inner, outputs, act: false });
      x = stride === 1 && outputs === channels ? w.node('Add', [x, out], `${name}.sum`) : out;
      channels = outputs;
    }
  });
  const features = w.conv(x, 'head', { inputs: channels, outputs: 1280 });
  const flat = w.node('Flatten', [w.node('GlobalAveragePool', [features], 'pooled')], 'flat', { axis: int(1) });
  w.node('Gemm', [flat, w.weight('classifier.w', [1280, classes], 1280), w.filled('classifier.b', classes, 0)], 'logits');
  return serializeModel(w.model({ input: ['batch', 3, 96, 96] }, { logits: ['batch', classes] }));
}

interface Network {
  /** Of the bar, and of the network in the script. */
  name: 'sound' | 'mobilenet';
  what: string;
  dims: readonly [number, number, number];
  /** Of PyTorch's speed. */
  least: number;
  model: () => Uint8Array;
}

const networks: readonly Network[] = [
  { name: 'sound', what: 'a sound student like MobileNetV3 (1 x 96 x 64)', dims: [1, 96, 64], least: 1.3, model: () => buildStudent({ rows: 96, columns: 64, classes, width: 1, seed: 3 }) },
  { name: 'mobilenet', what: 'MobileNetV2 0.5 (3 x 96 x 96)', dims: [3, 96, 96], least: 0.8, model: mobileNet },
];

/** A training with one batch that never changes: what it learns is no matter. */
async function trainerOf({ model, dims }: Network): Promise<Trainer> {
  const graph = inferShapes(graphFromOnnx(parseModel(model()), { shapes: { input: [batch, ...dims] } }));
  const training = trainingModel(graph, { inputs: { target: { dtype: 'float32', shape: [batch, classes] } }, loss: (m) => labelLoss(m, { kind: 'cross-entropy' }, 'logits', 'target') });
  const next = noise(7);
  const input: Tensor = { type: 'float32', dims: [batch, ...dims], data: Float32Array.from({ length: batch * dims[0] * dims[1] * dims[2] }, () => next() / 2 ** 31 - 1) };
  const target: Tensor = { type: 'float32', dims: [batch, classes], data: Float32Array.from({ length: batch * classes }, (_, i) => (i % classes === Math.floor(i / classes) % classes ? 1 : 0)) };
  const settings = { steps: 1000, optimizer: { kind: 'sgd', momentum: 0.9, decay: 0 }, schedule: { kind: 'constant' }, rate: 1e-3, warmup: 0, clip: 1e9, average: 0, threads } as const;
  return Trainer.open(training, settings, () => ({ input, target }));
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;

/** Medians over the steps of a turn, milliseconds. */
interface Turn {
  readonly cpu: number;
  readonly clock: number;
}

const least = (a: Turn, b: Turn): Turn => ({ cpu: Math.min(a.cpu, b.cpu), clock: Math.min(a.clock, b.clock) });

async function turnOf(trainer: Trainer): Promise<Turn> {
  const [cpu, clock]: [number[], number[]] = [[], []];
  for (let i = 0; i < stepsATurn; i++) {
    const [start, began] = [process.cpuUsage(), performance.now()];
    await trainer.advance();
    const { user, system } = process.cpuUsage(start);
    cpu.push((user + system) / 1000);
    clock.push(performance.now() - began);
  }
  return { cpu: median(cpu), clock: median(clock) };
}

/** A process of Python with PyTorch that makes steps when it is asked. */
class Torch {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;

  constructor(name: string) {
    // Debian's own Python, whose modules apt-get installs.
    this.#child = spawn('/usr/bin/python3', ['-c', torchScript, name, String(batch), String(threads), String(stepsATurn)], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#child.once('error', () => undefined);
    this.#child.stdin?.on('error', () => undefined);
    if (this.#child.stdout === null) throw new DeployError('E_BENCH', 'The process of PyTorch has no output');
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Its next line; null when it has ended. */
  async line(): Promise<string | null> {
    const { done, value } = await this.#answers.next();
    return done === true ? null : value;
  }

  /** @throws DeployError E_BENCH */
  async turn(): Promise<Turn> {
    this.#child.stdin?.write('go\n');
    const line = await this.line();
    if (line === null) throw new DeployError('E_BENCH', 'PyTorch ended before it had made its steps');
    const [cpu = NaN, clock = NaN] = line.split(' ').map(Number);
    return { cpu, clock };
  }

  close(): void {
    this.#child.kill('SIGKILL');
    this.#lines.close();
  }
}

async function networkBar(network: Network, torch: Torch, version: string, signal: AbortSignal): Promise<Bar> {
  const trainer = await trainerOf(network);
  try {
    await turnOf(trainer); // Caches and allocators are warm then.
    await torch.turn();
    let [ours, theirs]: [Turn, Turn] = [{ cpu: Infinity, clock: Infinity }, { cpu: Infinity, clock: Infinity }];
    for (let i = 0; i < turns; i++) {
      signal.throwIfAborted();
      ours = least(ours, await turnOf(trainer));
      theirs = least(theirs, await torch.turn());
    }
    const value = theirs.cpu / ours.cpu;
    const shown = (key: keyof Turn): string => `${ours[key].toFixed(0)} and ${theirs[key].toFixed(0)} ms`;
    const what = `speed of a training step of ${network.what}, batch ${batch}, ${threads} thread, by processor time against PyTorch ${version} in channels_last: ${shown('cpu')} (by the clock ${shown('clock')})`;
    return { id: `lab.step_${network.name}`, what, value, unit: 'x', bar: `>= ${network.least}`, met: value >= network.least };
  } finally {
    await trainer.close();
  }
}

export async function trainingStepBars({ signal }: Pick<LabBenchOptions, 'signal'>): Promise<Bar[] | Absent> {
  const bars: Bar[] = [];
  for (const network of networks) {
    const torch = new Torch(network.name);
    try {
      const version = await torch.line();
      if (version === null) return { absent: 'python3-torch is absent (apt-get install python3-torch)' };
      bars.push(await networkBar(network, torch, version, signal));
    } finally {
      torch.close();
    }
  }
  return bars;
}
