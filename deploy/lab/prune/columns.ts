import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { operand } from '../../../runtime/graph/operands.js';
import { openPart, type Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import { ColumnSample, columnLayout, type ColumnLayout } from '../../../runtime/quantize/observe/columns.js';
import { covariance } from '../../../runtime/quantize/round/gptq.js';

/** What a layer reads, over samples: second moments of its columns, each less its mean, and the means. */
export interface ColumnMoments {
  readonly layout: ColumnLayout;
  readonly count: number;
  readonly means: Float64Array;
  /** [depth][depth]; of layers with groups or too many columns, only the diagonal is known. */
  readonly covariance?: Float64Array;
  readonly variances: Float64Array;
}

/** Beyond so many weights of an output, covariances are not computed: their inverse would take minutes. */
export const largestDepth = 1152;

/** Columns that are looked at, at least, and of each weight. */
const [leastColumns, columnsAWeight] = [1024, 2];

function momentsOf({ layout, values, count }: ColumnSample): ColumnMoments {
  const width = layout.groups * layout.depth;
  const [means, variances] = [new Float64Array(width), new Float64Array(width)];
  for (let c = 0; c < count; c++) for (let k = 0; k < width; k++) means[k] = (means[k] ?? 0) + (values[c * width + k] ?? 0) / count;
  for (let c = 0; c < count; c++) for (let k = 0; k < width; k++) variances[k] = (variances[k] ?? 0) + ((values[c * width + k] ?? 0) - (means[k] ?? 0)) ** 2 / count;
  const whole = layout.groups === 1 && layout.depth <= largestDepth;
  return { layout, count, means, variances, ...(whole ? { covariance: covariance(values, { count, stride: width, first: 0, depth: width }) } : {}) };
}

/** Moments of what each of the nodes reads; nodes whose columns are not known are left out. */
export async function columnMoments(graph: Graph, nodes: readonly Node[], samples: readonly Feeds[]): Promise<Map<Node, ColumnMoments>> {
  const gathered = new Map<Node, ColumnSample>();
  for (const node of nodes) {
    const layout = columnLayout(graph, { node });
    if (layout !== undefined) gathered.set(node, new ColumnSample(layout, Math.min(samples.length * layout.positions, Math.max(leastColumns, columnsAWeight * layout.depth))));
  }
  const inputs = [...gathered.keys()].map((node) => operand(node, 0));
  if (inputs.every((name) => graph.inputs.includes(name))) return new Map();
  const session = await openPart(graph, inputs, undefined);
  try {
    for (const [i, feeds] of samples.entries()) {
      const results = await session.run(feeds);
      for (const [node, sample] of gathered) {
        const data = results[operand(node, 0)]?.data ?? feeds[operand(node, 0)]?.data;
        if (data instanceof Float32Array) sample.add(data, i, Math.ceil(sample.capacity / samples.length));
      }
    }
  } finally {
    await session.close();
  }
  return new Map([...gathered].map(([node, sample]) => [node, momentsOf(sample)]));
}
