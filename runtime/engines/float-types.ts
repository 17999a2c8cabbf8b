import type { CellMask } from '../../kernels/binding/index.js';
import { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from '../onnx/float16.js';
import type { DeclaredFloat } from '../onnx/declared-floats.js';
import type { KeptMaps, LayerProfile, Session, SessionStats, SplitRun } from '../session-types.js';
import type { DataType, Tensor, TensorInfo } from '../tensor.js';
import { arrayTypes, checkTensor } from './feeds.js';
import { moveInto, type ReusedOutputs } from './outputs.js';

type Feeds = Readonly<Record<string, Tensor>>;

const floats: readonly DataType[] = ['float32', 'float16', 'float64', 'bfloat16'];
export const isFloat = (type: DataType): boolean => floats.includes(type);

/** The values of a tensor of floats as another type of floats. */
export function asFloats({ type, dims, data }: Tensor, wanted: DataType): Tensor {
  if (type === wanted) return { type, dims, data };
  const values = new arrayTypes[wanted](data.length);
  for (let i = 0; i < data.length; i++) {
    const given = Number(data[i]);
    const value = type === 'float16' ? float16ToNumber(given) : type === 'bfloat16' ? bfloat16ToNumber(given) : given;
    values[i] = wanted === 'float16' ? numberToFloat16(value) : wanted === 'bfloat16' ? numberToBfloat16(value) : value;
  }
  return { type: wanted, dims, data: values };
}

/** The input or output of this name, or the sequence that the tensor is one of. */
const portOf = (ports: readonly TensorInfo[], name: string): TensorInfo | undefined =>
  ports.find((info) => info.name === name) ?? ports.find((info) => info.container !== undefined && name.startsWith(`${info.name}[`));

/** A session whose inputs and outputs of floats have other types than those of the session that computes. */
class ConvertingSession implements Session {
  readonly split?: SplitRun;
  readonly profile?: (feeds: Feeds, active?: CellMask) => Promise<LayerProfile[]>;

  constructor(private readonly session: Session, private readonly typeOf: (info: TensorInfo) => DataType) {
    const { split } = session;
    if (session.profile !== undefined) this.profile = async (feeds, active) => (await session.profile?.(this.given(feeds), active)) ?? [];
    if (split !== undefined) {
      this.split = {
        name: split.name, features: split.features, zeroPoint: split.zeroPoint,
        prefix: (feeds, active) => split.prefix(this.given(feeds), active),
        suffix: async (reused = {}) => this.taken(await split.suffix(this.kinds(reused)), reused),
      };
    }
  }
  // The sizes are those of the session, which may change with what it is fed.
  get inputs(): readonly TensorInfo[] {
    return this.session.inputs.map((info) => ({ ...info, type: this.typeOf(info) }));
  }
  get outputs(): readonly TensorInfo[] {
    return this.session.outputs.map((info) => ({ ...info, type: this.typeOf(info) }));
  }
  get stats(): SessionStats {
    return this.session.stats;
  }
  get kept(): KeptMaps {
    return this.session.kept as KeptMaps;
  }

  /** What the other session is fed, which knows what is missing and which sizes fit. */
  private given(feeds: Feeds): Record<string, Tensor> {
    return Object.fromEntries(Object.entries(feeds).map(([name, feed]) => {
      const info = portOf(this.session.inputs, name);
      const type = info === undefined ? feed.type : this.typeOf(info);
      if (info === undefined || type === info.type) return [name, feed];
      checkTensor('input', { name, type, dims: feed.type === type ? feed.dims : info.dims }, feed);
      return [name, asFloats(feed, info.type)];
    }));
  }
  /** The tensors that the other session can write into. */
  private kinds(reused: ReusedOutputs): ReusedOutputs {
    return Object.fromEntries(Object.entries(reused).filter(([name, tensor]) => {
      const info = this.outputs.find((output) => output.name === name);
      const own = this.session.outputs.find((output) => output.name === name);
      if (info !== undefined && info.type !== own?.type) checkTensor('output', info, tensor);
      return info === undefined || info.type === own?.type;
    }));
  }
  private taken(results: Record<string, Tensor>, reused: ReusedOutputs): Record<string, Tensor> {
    return Object.fromEntries(Object.entries(results).map(([name, result]) => {
      const info = portOf(this.session.outputs, name);
      const type = info === undefined || !isFloat(result.type) ? result.type : this.typeOf(info);
      return [name, result.type === type ? result : moveInto(reused[name], asFloats(result, type))];
    }));
  }

  async run(feeds: Feeds, reused: ReusedOutputs = {}, active?: CellMask): Promise<Record<string, Tensor>> {
    return this.taken(await this.session.run(this.given(feeds), this.kinds(reused), active), reused);
  }
  close(): Promise<void> {
    return this.session.close();
  }
}

/** The session with the types of floats that the model declares, or with float32 throughout; the session itself where it has them already. */
export function withFloats(session: Session, declared: ReadonlyMap<string, DeclaredFloat> | 'float32'): Session {
  const typeOf = ({ name, type }: TensorInfo): DataType => (!isFloat(type) ? type : declared === 'float32' ? 'float32' : (declared.get(name) ?? 'float32'));
  const ports = [...session.inputs, ...session.outputs];
  return ports.every((info) => typeOf(info) === info.type) ? session : new ConvertingSession(session, typeOf);
}
