import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { newestOpset, oldestOpset } from '../../../runtime/graph/opsets.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { TensorProto, type WireTensor } from '../../../runtime/onnx/schema.js';
import { readTensor } from '../../../runtime/onnx/tensor-data.js';
import { defaultLimits, type OnnxModel } from '../../../runtime/onnx/types.js';
import { operatorNames } from '../../../runtime/ops/registry.js';
import { difference } from '../support/oracle.js';

/** The ONNX project's own node tests, from the Debian package libonnx-testdata. */
const root = '/usr/share/libonnx-testdata/data/node';
const known = new Set(operatorNames);

/** Beyond what Sterna takes, each for a reason that the supported-operator list states. */
const outOfScope = [
  /_(u?int16|uint32|uint64|BFLOAT16|STRING)(_|$)/i, // element types
  /_3d_/, /convtranspose_3d/, /sequence/, /_opt$/, // rank, containers
  /training/, /argmax/, // training mode, indices of a pool
  /bernoulli/, // what is drawn follows from no seed of the node
];

function load(folder: string): OnnxModel | undefined {
  const model = parseModel(readFileSync(join(root, folder, 'model.onnx')));
  const opset = model.opsets.get('') ?? 0;
  return opset >= oldestOpset && opset <= newestOpset && model.graph.nodes.every((node) => node.domain === '' && known.has(node.op)) ? model : undefined;
}

const folders = existsSync(root) ? readdirSync(root).filter((name) => existsSync(join(root, name, 'test_data_set_0')) && !outOfScope.some((pattern) => pattern.test(name))) : [];
const cases = folders.filter((folder) => load(folder) !== undefined);
const reason = existsSync(root) ? '' : ` (${root} is missing: apt-get install libonnx-testdata)`;

describe.skipIf(!existsSync(root))(`the ONNX node tests${reason}`, () => {
  it('are there', () => {
    expect(cases.length).toBeGreaterThan(300);
  });

  it.each(cases)('%s', (folder) => {
    const model = load(folder);
    if (model === undefined) throw new Error('Expected a supported model');
    const tensor = (file: string) => readTensor(TensorProto.decode(readFileSync(join(root, folder, 'test_data_set_0', file))) as WireTensor, defaultLimits);
    const inputs = model.graph.inputs.map(({ name }, i) => [name, tensor(`input_${i}.pb`)] as const);
    const bound = { ...model, graph: { ...model.graph, inputs: [], initializers: new Map([...model.graph.initializers, ...inputs]) } };
    const outputs = interpret(inferShapes(graphFromOnnx(bound)), new Map());
    model.graph.outputs.forEach(({ name }, i) => {
      const want = tensor(`output_${i}.pb`);
      const got = outputs.get(name);
      expect({ dtype: got?.dtype, dims: got?.dims }).toEqual({ dtype: want.dtype, dims: want.dims });
      const { maximum, range } = difference(got?.data ?? [], Array.from(want.data, Number));
      expect(maximum).toBeLessThanOrEqual(1e-3 * Math.max(1, range));
    });
  });
});
