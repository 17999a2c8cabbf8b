import { oneOf, unsupported } from '../graph/attributes.js';
import { allocate, isBig, type DType, type TensorValue } from '../graph/tensor-value.js';
import { zipWhole, type WholeFunction } from './exact.js';
import { broadcast, expectType, inputValue, outputType, sharing, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './op.js';

// Operators on the bits of whole numbers, exact for all 64 of them.

const whole: readonly DType[] = ['uint8', 'int8', 'int32', 'int64', 'uint32', 'uint64'];

const combined = (context: EvaluateContext, fn: WholeFunction): TensorValue => zipWhole(inputValue(context, 0), inputValue(context, 1), outputType(context), fn);

function pairType(context: InferContext, allowed: readonly DType[]): ReturnType<OperatorRecord['infer']> {
  const [a, b] = [expectType(context, 0, allowed), expectType(context, 1, allowed)];
  if (a.dtype !== b.dtype) throw unsupported(context.node, `operands of types ${a.dtype} and ${b.dtype}`);
  return [{ dtype: a.dtype, shape: broadcast(context.node, a.shape, b.shape) }];
}

const bitwise = (fn: WholeFunction): OperatorRecord => ({ infer: (context) => pairType(context, whole), evaluate: (context) => [combined(context, fn)] });

const not: OperatorRecord = {
  infer: (context) => [expectType(context, 0, whole)],
  evaluate(context) {
    const { dtype, dims, data } = inputValue(context, 0);
    const out = allocate(dtype, data.length);
    for (let i = 0; i < out.length; i++) out[i] = isBig(data) ? ~(data[i] ?? 0n) : ~(data[i] ?? 0);
    return [{ dtype, dims, data: out }];
  },
};

const left: WholeFunction = { narrow: (a, bits) => (bits > 31 ? 0 : a << bits), wide: (a, bits) => (bits > 63n ? 0n : a << bits) };
const right: WholeFunction = { narrow: (a, bits) => (bits > 31 ? 0 : a >>> bits), wide: (a, bits) => (bits > 63n ? 0n : a >> bits) };

/** Of 32 and 64 bits; shifts of fewer are products and quotients (`expand/elementwise.ts`). */
const bitShift: OperatorRecord = {
  infer: (context) => pairType(context, ['uint32', 'uint64']),
  evaluate: (context) => [combined(context, oneOf(context.node, 'direction', ['LEFT', 'RIGHT'], 'LEFT') === 'LEFT' ? left : right)],
};

export const bitwiseOps: OpTable = sharing({ linear: true }, {
  BitwiseAnd: bitwise({ narrow: (a, b) => a & b, wide: (a, b) => a & b }),
  BitwiseOr: bitwise({ narrow: (a, b) => a | b, wide: (a, b) => a | b }),
  BitwiseXor: bitwise({ narrow: (a, b) => a ^ b, wide: (a, b) => a ^ b }),
  BitwiseNot: not, BitShift: bitShift,
});
