import type { Graph } from '../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { fromNumbers, type ValueType } from '../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxModel } from '../../runtime/onnx/types.js';
import { DeployError } from '../errors.js';
import { plainLossOf, softTargetsOf, type LabConfig } from './config.js';
import type { Geometry } from './examples.js';
import { distillationLoss, labelLoss } from './losses.js';
import type { Trainer } from './trainer.js';
import { trainingModel, type TrainingModel } from './training-model.js';

/** A model whose only input and output fit the data. */
export interface Student {
  model: OnnxModel;
  graph: Graph;
  input: string;
  output: string;
}

export function studentOf(bytes: Uint8Array, batch: number, geometry: Geometry, classes: number): Student {
  const model = parseModel(bytes);
  const [input] = model.graph.inputs.filter(({ name }) => !model.graph.initializers.has(name)).map(({ name }) => name);
  const output = model.graph.outputs[0]?.name;
  if (input === undefined || output === undefined) throw new DeployError('E_LAB', 'Expected a model with an input and an output');
  const shape = [batch, 1, geometry.rows, geometry.bands];
  const graph = inferShapes(graphFromOnnx(model, { shapes: { [input]: shape } }));
  const made = graph.types.get(output)?.shape ?? [];
  if (made.length !== 2 || made[0] !== batch || made[1] !== classes) throw new DeployError('E_LAB', `Expected output '${output}' of [${batch}, ${classes}] (batch, classes) for an input of [${shape.join(', ')}] but the model gives [${made.join(', ')}]`);
  return { model, graph, input, output };
}

export function trainingOf({ graph, output }: Student, classes: number, config: LabConfig): TrainingModel {
  const logits: ValueType = { dtype: 'float32', shape: [config.batch, classes] };
  const [teacher, loss] = [softTargetsOf(config), plainLossOf(config)];
  return trainingModel(graph, {
    inputs: { 'lab.target': logits, ...(teacher === undefined ? {} : { 'lab.teacher': logits }) },
    loss(m) {
      const labels = labelLoss(m, loss, output, 'lab.target');
      return teacher === undefined ? labels : m.add(m.scale(labels, 1 - teacher.weight), m.scale(distillationLoss(m, teacher, output, 'lab.teacher'), teacher.weight));
    },
  });
}

/** The model with its trained weights, and with a record of the run in its metadata. @param heads weights that were trained beside it, and do not belong to it */
export function trained({ model }: Pick<Student, 'model'>, trainer: Trainer, record: Readonly<Record<string, unknown>>, heads: ReadonlySet<string> = new Set()): Uint8Array {
  const initializers = new Map(model.graph.initializers);
  for (const [name, data] of [...trainer.result, ...trainer.statistics]) {
    if (heads.has(name)) continue;
    const old = initializers.get(name);
    if (old === undefined) throw new DeployError('E_LAB', `Weight '${name}' is no initializer of the model, so it cannot be written back; export the model with its weights as initializers`);
    initializers.set(name, fromNumbers('float32', old.dims, data));
  }
  const metadata = new Map([...model.metadata, ['sterna.lab', JSON.stringify(record)]]);
  return serializeModel({ ...model, metadata, graph: { ...model.graph, initializers } });
}
