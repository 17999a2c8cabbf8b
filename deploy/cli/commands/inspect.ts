import type { Command } from 'commander';
import { coresFor, describeCpu } from '../../../kernels/binding/index.js';
import { openPackage } from '../../../runtime/package/index.js';
import { reportModel, reportPackage, type ModelReport, type PackageReport } from '../../compress/inspect.js';
import { chooseShapes } from '../../compress/shapes.js';
import { readChosenModel, readInputFile } from '../files.js';
import { addInputOptions, chosenSizes, type InputOptions } from '../options.js';
import { log, reporting, type Report } from '../output.js';
import { formatBytes, formatCount, formatTable } from '../table.js';

const shape = (dims: readonly number[]): string => (dims.length === 0 ? 'scalar' : dims.join('x'));
const right = (title: string) => ({ title, align: 'right' as const });

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

/** How far a frame of a video can go, from the cheapest to the dearest. */
function ladderText({ splits, parts, macs }: ModelReport): string {
  const [first, last] = [splits[0], splits.at(-1)];
  const range = first === undefined || last === undefined ? 'no layer at which a run can stop'
    : splits.length === 1 ? `after ${first.name}, ${percent(first.share)} of the MACs`
      : `after one of ${splits.length} layers, from ${first.name} (${percent(first.share)} of the MACs) to ${last.name} (${percent(last.share)}); --json lists them as splits`;
  return formatTable([{ title: 'a frame can end' }, { title: 'what is computed' }], [
    ['at the pixels', 'nothing of the model'],
    ['at the features', range],
    ['with a part', parts === null ? 'not possible: the model has no picture, or several, as its inputs' : `the changed cells of ${parts.layers} of ${parts.of} layers, which have ${percent(parts.share)} of the MACs; keeps ${formatBytes(parts.kept_bytes)}`],
    ['with all of it', `${formatCount(macs)} MACs`],
  ]);
}

function modelText(model: ModelReport): string {
  const rows = model.layers.map((layer) => [
    layer.name, layer.op, layer.weight_bits === null ? '-' : String(Number(layer.weight_bits.toFixed(1))), layer.format === 'none' ? '-' : layer.format, layer.kernel, shape(layer.input_shape), shape(layer.output_shape),
    layer.macs === 0 ? '-' : formatCount(layer.macs), layer.parameters === 0 ? '-' : formatCount(layer.parameters), layer.note,
  ]);
  const columns = [{ title: 'layer' }, { title: 'op' }, right('bits'), { title: 'format' }, { title: 'kernel' }, { title: 'input' }, { title: 'output' }, right('MACs'), right('parameters'), { title: 'why' }];
  const ports = (title: string, list: ModelReport['inputs']): string[] => list.map(({ name, type, dims }) => `${title} ${name}: ${type} ${shape(dims)}`);
  return [
    `${formatBytes(model.bytes)}, operator set ${model.opset}${model.producer === '' ? '' : `, from ${model.producer}`}`,
    ...ports('input', model.inputs),
    ...ports('output', model.outputs),
    '',
    formatTable(columns, rows),
    '',
    `${formatCount(model.macs)} MACs, ${formatCount(model.parameters)} parameters, activations ${formatBytes(model.arena_bytes)}, packed weights ${formatBytes(model.packed_bytes)} on ${model.isa}`,
    ...(model.interpreted_nodes === 0 ? [] : [`${model.interpreted_nodes} nodes are interpreted in each run`]),
    ...(model.recompiled_for.length === 0 ? [] : [`the model is compiled again for each value of ${model.recompiled_for.join(', ')}: make these inputs constant if they never change`]),
    '',
    ladderText(model),
  ].join('\n');
}

function packageText(found: PackageReport): string {
  const head = `${found.name} ${found.version} (release ${found.release_counter}), needs runtime ${found.minimum_runtime}\nsha256 ${found.sha256}`;
  return [head, ...Object.entries(found.models).map(([path, model]) => `${path}: ${modelText(model)}`), ...variantsText(found)].join('\n\n');
}

/** Cheaper networks, to which a device changes while it must save heat or energy. */
function variantsText({ variants }: PackageReport): string[] {
  if (variants.length === 0) return [];
  const rows = variants.flatMap(({ name, load, cost, golden_vectors, stages }) => Object.entries(stages).map(([stage, { model, size, macs }]) => [name, stage, model, size, formatCount(macs), percent(load), percent(cost), String(golden_vectors)]));
  return [formatTable([{ title: 'variant' }, { title: 'stage' }, { title: 'model' }, { title: 'input' }, right('MACs'), right('work of a frame'), right('objects not found'), right('golden vectors')], rows)];
}

/** Instruction sets and why each is or is not used, and which cores an affinity means. */
function cpuReport(): { json: Record<string, unknown>; text: string } {
  const { model, selected, isas } = describeCpu();
  const cores = { big: coresFor('big').reason, little: coresFor('little').reason };
  const json = { cpu: model, isa: selected, isas: isas.map(({ isa, reason }) => ({ isa, reason })), cores };
  const text = `${model}: ${isas.map(({ isa, reason }) => `${isa} (${reason})`).join(', ')}\naffinity big: ${cores.big}; little: ${cores.little}`;
  return { json, text };
}

async function inspect(command: Command, path: string, options: InputOptions): Promise<Report> {
  const bytes = path.endsWith('.sterna') ? await readInputFile(path) : await readChosenModel(path, options);
  const cpu = cpuReport();
  // The extension decides: a broken package should be reported as a package, not as a model.
  if (path.endsWith('.sterna')) {
    const found = await reportPackage(await openPackage(bytes));
    return { json: { file: path, kind: 'package', ...cpu.json, ...found }, text: `${packageText(found)}\n\n${cpu.text}` };
  }
  const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options));
  for (const note of notes) log(command, `sterna: ${note}`);
  const found = await reportModel(bytes, { shapes });
  return { json: { file: path, kind: 'model', ...cpu.json, ...found }, text: `${modelText(found)}\n\n${cpu.text}` };
}

export function register(program: Command): void {
  const command = program
    .command('inspect')
    .summary('show the contents of a model or package and how this machine runs it')
    .description('Shows the layers of a model with shapes, MACs, parameters, number formats, memory, and the kernel that each layer uses on this CPU.')
    .argument('<file>', 'an ONNX model or a .sterna package');
  addInputOptions(command).action(reporting((self: Command, path: string, options: InputOptions) => inspect(self, path, options)));
}
