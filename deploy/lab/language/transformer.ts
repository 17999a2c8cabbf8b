import { float, int, ints } from '../../../runtime/graph/attributes.js';
import { float32s, fromNumbers, int64s, scalar } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { DrawnNetwork } from '../network-writer.js';

/** A transformer that predicts the next character (pre-norm, ReLU and no biases in attention, as OPT has it). */
export interface TransformerSettings {
  readonly vocabulary: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Characters that it sees at once. */
  readonly context: number;
  readonly seed: number;
}

/** Numbers from which a score no longer counts. */
const masked = -1e4;

class Transformer extends DrawnNetwork {
  constructor(private readonly settings: TransformerSettings) {
    super(settings.seed);
  }
  norm(x: string, name: string): string {
    const { width } = this.settings;
    return this.node('LayerNormalization', [x, this.filled(`${name}.scale`, width, 1), this.filled(`${name}.bias`, width, 0)], name, { axis: int(-1), epsilon: float(1e-5) });
  }
  product(x: string, name: string, inputs: number, outputs: number): string {
    return this.node('MatMul', [x, this.weight(`${name}.weight`, [inputs, outputs], inputs, 1)], name);
  }
  attention(x: string, name: string): string {
    const { width } = this.settings;
    const split = (part: string, perm: readonly number[]): string => this.node('Transpose', [this.node('Reshape', [this.product(x, `${name}.${part}`, width, width), 'shape.heads'], `${name}.${part}.heads`)], `${name}.${part}.turned`, { perm: ints(perm) });
    const [q, k, v] = [split('query', [0, 2, 1, 3]), split('key', [0, 2, 3, 1]), split('value', [0, 2, 1, 3])];
    const scores = this.node('Mul', [this.node('MatMul', [q, k], `${name}.products`), 'attention.factor'], `${name}.scores`);
    const shares = this.node('Softmax', [this.node('Where', ['attention.seen', scores, 'attention.masked'], `${name}.seen`)], `${name}.shares`, { axis: int(-1) });
    const mixed = this.node('Transpose', [this.node('MatMul', [shares, v], `${name}.mixed`)], `${name}.mixed.turned`, { perm: ints([0, 2, 1, 3]) });
    return this.product(this.node('Reshape', [mixed, 'shape.rows'], `${name}.joined`), `${name}.out`, width, width);
  }
  block(x: string, name: string): string {
    const { width } = this.settings;
    const attended = this.node('Add', [x, this.attention(this.norm(x, `${name}.norm1`), `${name}.attention`)], `${name}.sum1`);
    const inner = this.product(this.norm(attended, `${name}.norm2`), `${name}.up`, width, 4 * width);
    const active = this.node('Relu', [this.node('Add', [inner, this.filled(`${name}.up.bias`, 4 * width, 0)], `${name}.up.sum`)], `${name}.active`);
    return this.node('Add', [attended, this.product(active, `${name}.down`, 4 * width, width)], `${name}.sum2`);
  }
}

/** An untrained transformer: input `tokens` int64[batch, context], output `logits` [batch, context, vocabulary]. */
export function buildTransformer(settings: TransformerSettings): Uint8Array {
  const { vocabulary, width, layers, heads, context } = settings;
  const w = new Transformer(settings);
  const constants = {
    'shape.heads': int64s([0, context, heads, width / heads]), 'shape.rows': int64s([0, context, width]),
    'attention.factor': float32s([Math.sqrt(heads / width)]), 'attention.masked': scalar('float32', masked),
    'attention.seen': fromNumbers('bool', [context, context], Uint8Array.from({ length: context * context }, (_, i) => (i % context <= Math.floor(i / context) ? 1 : 0))),
  };
  for (const [name, value] of Object.entries(constants)) w.weights.set(name, value);
  const embedded = w.node('Gather', [w.weight('embedding', [vocabulary, width], width, 1), 'tokens'], 'embedded', { axis: int(0) });
  let x = w.node('Add', [embedded, w.weight('positions', [context, width], width, 1)], 'placed');
  for (let layer = 0; layer < layers; layer++) x = w.block(x, `block${layer}`);
  w.product(w.norm(x, 'norm'), 'logits', width, vocabulary);
  const model = w.model({}, { logits: ['batch', context, vocabulary] });
  return serializeModel({ ...model, graph: { ...model.graph, inputs: [{ name: 'tokens', dtype: 'int64', dims: ['batch', context] }] } });
}
