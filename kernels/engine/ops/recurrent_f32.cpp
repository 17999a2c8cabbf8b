// RecurrentF32: the recurrent part of RNN, GRU and LSTM. The products with the input sequence are one convolution of 1x1 before it.
//
// Packed at load: the recurrent weights of each direction, those of GRU's new gate apart, since it is multiplied after the reset gate.
// A step of a direction is one GEMM of its rows (two for GRU), with the step's gates added as the residual, and the functions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/ops/drivers.h"
#include "engine/ops/unary.h"

namespace sterna {
namespace {

enum Input : uint32_t { kGates, kWeights, kNewBias, kHidden, kCell, kPeephole, kLengths };
using Kind = RecurrentKind;

constexpr int kMaxDirections = 2;
constexpr int kFunctions = 3;  // of a direction

struct Shape {
  Kind kind;
  int64_t steps, batch, directions, hidden;
  int64_t states;  // rows of y after the steps: the last hidden and cell state, when they are wanted

  int64_t gates() const { return kind == Kind::kLstm ? 4 : kind == Kind::kGru ? 3 : 1; }
  int64_t width() const { return gates() * hidden; }  // of a direction's gates
  int64_t row() const { return directions * width(); }
  int64_t units() const { return directions * batch; }
};

// A function of gates. The hyperbolic tangent goes through the vector kernel: 2 sigmoid(2x) - 1, within 2^-22 of it.
class Function {
 public:
  Status Init(const KernelSet& kernels, int32_t kind, float alpha, float beta) {
    tanh_ = kind == static_cast<int32_t>(UnaryKind::kTanh);
    return MakeUnary(kernels, kind, alpha, beta, &function_);
  }
  void Apply(int64_t n, const float* x, float* y) const {
    if (!tanh_) return function_.Apply(static_cast<size_t>(n), x, y);
    for (int64_t i = 0; i < n; ++i) y[i] = 2.0f * x[i];
    function_.elementwise->sigmoid_f32(static_cast<size_t>(n), y, y);
    for (int64_t i = 0; i < n; ++i) y[i] = 2.0f * y[i] - 1.0f;
  }

 private:
  bool tanh_ = false;
  UnaryFunction function_;
};

// Weights of one direction.
struct Direction {
  bool reverse;
  Function functions[kFunctions];  // f, g, h of ONNX
  const uint8_t *gates, *fresh;    // packed; fresh: GRU's new gate
  const float *new_bias, *peephole;  // null: none
};

// What the rows of one call work in; rows are `hidden` or `width` floats apart.
struct Workspace {
  float *hidden, *cell, *gates, *extra;
  uint8_t* gemm;
};

// Units: one row of the batch in one direction. Rows of a direction that come together share their GEMMs.
class RecurrentF32 final : public OpDriver {
 public:
  RecurrentF32(const OpContext& context, const Shape& shape) : s_(shape), kernel_f32_(context.kernels().gemm_f32) {
    const size_t m = static_cast<size_t>(s_.batch), h = static_cast<size_t>(s_.hidden), width = static_cast<size_t>(s_.width());
    state_bytes_ = RoundUp(m * h * sizeof(float), 64) + kSlack;
    gate_bytes_ = RoundUp(m * width * sizeof(float), 64) + kSlack;
    scratch_bytes_ = 3 * state_bytes_ + gate_bytes_ + kernel_f32_->scratch_bytes(m, width, h);
    units_ = s_.units();
    cost_ = s_.steps * s_.units() * s_.width() * s_.hidden / 8;
    kernel_ = kernel_f32_->name;
  }
  Status Init(const OpContext& context);
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override;
  bool Succeeded() override;

 private:
  Status PackDirection(const OpContext& context, int64_t d);
  Status Bind(const OpContext& context);

  void RunRows(int64_t d, int64_t first, int64_t count, const Workspace& w) const;
  void Step(const Direction& d, int64_t count, const float* gates, const Workspace& w) const;
  void StepGru(const Direction& d, int64_t count, const float* gates, const Workspace& w) const;
  void StepLstm(const Direction& d, int64_t count, const Workspace& w) const;
  void Product(const uint8_t* packed, int64_t count, int64_t n, const float* a, const float* bias, const float* residual, float* y, const Workspace& w) const;
  void Clip(int64_t n, float* x) const {
    if (clip_ < std::numeric_limits<float>::infinity()) elementwise_->clamp_f32(static_cast<size_t>(n), x, x, -clip_, clip_);
  }
  float* Row(int64_t step, int64_t d, int64_t row) const { return y_ + ((step * s_.directions + d) * s_.batch + row) * y_stride_; }
  int64_t LengthOf(int64_t row) const { return lengths_ == nullptr ? s_.steps : std::clamp<int64_t>(lengths_[row], 0, s_.steps); }

  Shape s_;
  const GemmF32Kernel* kernel_f32_;
  const ElementwiseKernels* elementwise_ = nullptr;
  Direction directions_[kMaxDirections] = {};
  bool linear_before_reset_ = false, input_forget_ = false;
  float clip_ = 0.0f;
  const float *gates_ = nullptr, *hidden_ = nullptr, *cell_ = nullptr;
  int64_t gates_stride_ = 0, hidden_stride_ = 0, cell_stride_ = 0, y_stride_ = 0;
  const int32_t* lengths_ = nullptr;
  float* y_ = nullptr;
  size_t state_bytes_, gate_bytes_;
};

Status RecurrentF32::PackDirection(const OpContext& context, int64_t d) {
  const size_t h = static_cast<size_t>(s_.hidden), width = static_cast<size_t>(s_.width());
  const float* w = reinterpret_cast<const float*>(context.Constant(kWeights)) + static_cast<size_t>(d) * width * h;
  const auto pack = [&](size_t n, const float* from, const uint8_t** packed) {
    uint8_t* block;
    const Status status = context.Allocate(kernel_f32_->packed_bytes(n, h), &block);
    if (status.ok()) kernel_f32_->pack(n, h, DenseF32(from, h), block);
    *packed = block;
    return status;
  };
  if (s_.kind != Kind::kGru) return pack(width, w, &directions_[d].gates);
  const Status status = pack(2 * h, w, &directions_[d].gates);
  return status.ok() ? pack(h, w + 2 * h * h, &directions_[d].fresh) : status;
}

Status RecurrentF32::Bind(const OpContext& context) {
  const auto bind = [&](uint32_t input, const float** data, int64_t* stride) {
    const uint8_t* bytes = nullptr;
    if (context.Input(input) == nullptr) return Status::Ok();
    const Status status = context.InputData(input, &bytes);
    *data = reinterpret_cast<const float*>(bytes);
    *stride = context.Input(input)->pixel_stride;
    return status;
  };
  const float *new_bias = nullptr, *peephole = nullptr;
  int64_t dense = 0;
  const uint8_t* lengths = nullptr;
  Status status = bind(kGates, &gates_, &gates_stride_);
  if (status.ok()) status = bind(kHidden, &hidden_, &hidden_stride_);
  if (status.ok()) status = bind(kCell, &cell_, &cell_stride_);
  if (status.ok()) status = bind(kNewBias, &new_bias, &dense);
  if (status.ok()) status = bind(kPeephole, &peephole, &dense);
  if (status.ok() && context.Input(kLengths) != nullptr) status = context.InputData(kLengths, &lengths);
  lengths_ = reinterpret_cast<const int32_t*>(lengths);
  for (int64_t d = 0; d < s_.directions; ++d) {
    directions_[d].new_bias = new_bias == nullptr ? nullptr : new_bias + d * s_.hidden;
    directions_[d].peephole = peephole == nullptr ? nullptr : peephole + d * 3 * s_.hidden;
  }
  y_ = reinterpret_cast<float*>(context.OutputData());
  y_stride_ = context.Output().pixel_stride;
  return status;
}

Status RecurrentF32::Init(const OpContext& context) {
  const RecurrentAttrs& a = context.Attrs<RecurrentAttrs>();
  elementwise_ = context.kernels().elementwise;
  linear_before_reset_ = a.linear_before_reset != 0, input_forget_ = a.input_forget != 0, clip_ = a.clip;
  Status status = Bind(context);
  for (int64_t d = 0; status.ok() && d < s_.directions; ++d) {
    directions_[d].reverse = (a.reverse_mask >> d & 1) != 0;
    for (int i = 0; status.ok() && i < kFunctions; ++i) {
      const int64_t at = d * kFunctions + i;
      status = directions_[d].functions[i].Init(context.kernels(), a.functions[at], a.alphas[at], a.betas[at]);
    }
    if (status.ok()) status = PackDirection(context, d);
  }
  return status;
}

void RecurrentF32::Run(int64_t begin, int64_t end, uint8_t* scratch) {
  Workspace w;
  w.hidden = reinterpret_cast<float*>(scratch);
  w.cell = reinterpret_cast<float*>(scratch + state_bytes_);
  w.extra = reinterpret_cast<float*>(scratch + 2 * state_bytes_);
  w.gates = reinterpret_cast<float*>(scratch + 3 * state_bytes_);
  w.gemm = scratch + 3 * state_bytes_ + gate_bytes_;
  while (begin < end) {
    const int64_t d = begin / s_.batch, first = begin % s_.batch;
    // Rows of different lengths are at different steps: each goes alone.
    const int64_t count = lengths_ != nullptr ? 1 : std::min(s_.batch - first, end - begin);
    RunRows(d, first, count, w);
    begin += count;
  }
}

// Lengths that the sequence does not have; what is computed of them is bounded all the same.
bool RecurrentF32::Succeeded() {
  for (int64_t row = 0; lengths_ != nullptr && row < s_.batch; ++row) {
    if (lengths_[row] < 0 || lengths_[row] > s_.steps) return false;
  }
  return true;
}

void RecurrentF32::RunRows(int64_t direction, int64_t first, int64_t count, const Workspace& w) const {
  const Direction& d = directions_[direction];
  const size_t bytes = static_cast<size_t>(s_.hidden) * sizeof(float);
  const auto load = [&](const float* from, int64_t stride, float* to) {
    for (int64_t i = 0; i < count; ++i, to += s_.hidden) {
      if (from == nullptr) std::memset(to, 0, bytes);
      else std::memcpy(to, from + (direction * s_.batch + first + i) * stride, bytes);
    }
  };
  load(hidden_, hidden_stride_, w.hidden);
  load(cell_, cell_stride_, w.cell);
  const auto store = [&](int64_t step, const float* from) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(Row(step, direction, first + i), from + i * s_.hidden, bytes);
  };
  const int64_t length = LengthOf(first);
  for (int64_t i = 0; i < length; ++i) {
    const int64_t step = d.reverse ? length - 1 - i : i;
    Step(d, count, gates_ + (step * s_.batch + first) * gates_stride_ + direction * s_.width(), w);
    store(step, w.hidden);
  }
  for (int64_t step = length; step < s_.steps; ++step) std::memset(Row(step, direction, first), 0, bytes);
  if (s_.states > 0) store(s_.steps, w.hidden);
  if (s_.states > 1) store(s_.steps + 1, w.cell);
}

// y = a * packed + bias + residual. The residual is the gates' share of the input, or null.
void RecurrentF32::Product(const uint8_t* packed, int64_t count, int64_t n, const float* a, const float* bias, const float* residual, float* y, const Workspace& w) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const GemmF32Args args{static_cast<size_t>(count), static_cast<size_t>(n), static_cast<size_t>(s_.hidden), a, static_cast<size_t>(s_.hidden), packed, y,
                         static_cast<size_t>(n), {bias, nullptr, -kInfinity, kInfinity, residual, static_cast<size_t>(gates_stride_), 1}, w.gemm};
  kernel_f32_->run(&args);
}

// One step of `count` rows: w.hidden (and w.cell) become the next state.
void RecurrentF32::Step(const Direction& d, int64_t count, const float* gates, const Workspace& w) const {
  if (s_.kind == Kind::kGru) return StepGru(d, count, gates, w);
  Product(d.gates, count, s_.width(), w.hidden, nullptr, gates, w.gates, w);
  if (s_.kind == Kind::kLstm) return StepLstm(d, count, w);
  Clip(count * s_.hidden, w.gates);
  d.functions[0].Apply(count * s_.hidden, w.gates, w.hidden);
}

// H' = (1 - z) n + z H; z, r = f(.), n = g(gates + r * H R) or g(gates + r (H R + b)).
void RecurrentF32::StepGru(const Direction& d, int64_t count, const float* gates, const Workspace& w) const {
  const int64_t h = s_.hidden, all = count * h;
  Product(d.gates, count, 2 * h, w.hidden, nullptr, gates, w.gates, w);
  Clip(2 * all, w.gates);
  d.functions[0].Apply(2 * all, w.gates, w.gates);
  float* fresh = w.extra;
  if (linear_before_reset_) {
    Product(d.fresh, count, h, w.hidden, d.new_bias, nullptr, fresh, w);
  } else {
    for (int64_t i = 0; i < all; ++i) w.cell[i] = w.gates[i / h * 2 * h + h + i % h] * w.hidden[i];
    Product(d.fresh, count, h, w.cell, nullptr, gates + 2 * h, fresh, w);
  }
  if (linear_before_reset_) {
    for (int64_t i = 0; i < count; ++i) {
      const float *reset = w.gates + (2 * i + 1) * h, *input = gates + i * gates_stride_ + 2 * h;
      for (int64_t j = 0; j < h; ++j) fresh[i * h + j] = input[j] + reset[j] * fresh[i * h + j];
    }
  }
  Clip(all, fresh);
  d.functions[1].Apply(all, fresh, fresh);
  for (int64_t i = 0; i < count; ++i) {
    const float* update = w.gates + 2 * i * h;
    for (int64_t j = 0; j < h; ++j) w.hidden[i * h + j] = (1.0f - update[j]) * fresh[i * h + j] + update[j] * w.hidden[i * h + j];
  }
}

// Gates in the order i, o, f, c. C' = f C + i c, H' = o h(C'); peepholes look at C, that of o at C'.
void RecurrentF32::StepLstm(const Direction& d, int64_t count, const Workspace& w) const {
  const int64_t h = s_.hidden;
  for (int64_t row = 0; row < count; ++row) {
    float *in = w.gates + row * 4 * h, *out = in + h, *forget = out + h, *fresh = forget + h, *cell = w.cell + row * h, *hidden = w.hidden + row * h;
    const float* p = d.peephole;
    for (int64_t j = 0; p != nullptr && j < h; ++j) in[j] += p[j] * cell[j], forget[j] += p[2 * h + j] * cell[j];
    Clip(h, in);
    Clip(2 * h, forget);  // the fresh values too, which follow
    d.functions[0].Apply(h, in, in);
    if (input_forget_) {
      for (int64_t j = 0; j < h; ++j) forget[j] = 1.0f - in[j];
    } else {
      d.functions[0].Apply(h, forget, forget);
    }
    d.functions[1].Apply(h, fresh, fresh);
    for (int64_t j = 0; j < h; ++j) cell[j] = forget[j] * cell[j] + in[j] * fresh[j];
    for (int64_t j = 0; p != nullptr && j < h; ++j) out[j] += p[h + j] * cell[j];
    Clip(h, out);  // after its peephole has been added
    d.functions[0].Apply(h, out, out);
    d.functions[2].Apply(h, cell, hidden);
    for (int64_t j = 0; j < h; ++j) hidden[j] *= out[j];
  }
}

bool IsDense(const Tensor& t, DType type, int64_t elements) { return t.dtype == type && t.elements == elements && t.dense(); }

// An optional state [directions, batch, hidden].
Status CheckState(const OpContext& context, uint32_t input, const Shape& s) {
  const Tensor* t = context.Input(input);
  if (t == nullptr) return Status::Ok();
  const bool fits = t->dtype == DType::kF32 && t->rank == 3 && t->dims[0] == s.directions && t->dims[1] == s.batch && t->dims[2] == s.hidden;
  return fits ? Status::Ok() : Mismatch("a recurrent op's initial state does not have the shape of its states");
}

Status CheckOptional(const OpContext& context, const Shape& s) {
  Status status = CheckState(context, kHidden, s);
  if (status.ok()) status = CheckState(context, kCell, s);
  if (!status.ok()) return status;
  const Tensor *new_bias = context.Input(kNewBias), *peephole = context.Input(kPeephole), *lengths = context.Input(kLengths);
  if (new_bias != nullptr && !IsDense(*new_bias, DType::kF32, s.directions * s.hidden)) return Mismatch("a recurrent op's bias has the wrong type or length");
  if (peephole != nullptr && !IsDense(*peephole, DType::kF32, s.directions * 3 * s.hidden)) return Mismatch("a recurrent op's peepholes have the wrong type or length");
  if (lengths != nullptr && !IsDense(*lengths, DType::kS32, s.batch)) return Mismatch("a recurrent op's lengths have the wrong type or length");
  return Status::Ok();
}

Status CheckRecurrent(const OpContext& context, Shape* s) {
  const Tensor &gates = *context.Input(kGates), &weights = *context.Input(kWeights), &y = context.Output();
  const RecurrentAttrs& a = context.Attrs<RecurrentAttrs>();
  if (a.kind < 0 || a.kind > static_cast<int32_t>(Kind::kLstm)) return Unsupported("unknown kind of recurrent op");
  if (std::isnan(a.clip) || a.clip <= 0.0f) return Unsupported("the bound of a recurrent op is not positive");
  if (gates.dtype != DType::kF32 || weights.dtype != DType::kF32 || y.dtype != DType::kF32) return Mismatch("a recurrent op has the wrong types");
  if (gates.rank != 3 || weights.rank != 3 || y.rank != 4) return Mismatch("a recurrent op has the wrong ranks");
  if (weights.location != Location::kConst || !weights.dense()) return Unsupported("a recurrent op's weights must be constant and dense");
  *s = {static_cast<Kind>(a.kind), gates.dims[0], gates.dims[1], weights.dims[0], weights.dims[2], y.dims[0] - gates.dims[0]};
  if (s->directions > kMaxDirections) return Unsupported("a recurrent op has more than two directions");
  if (weights.dims[1] != s->width() || gates.dims[2] != s->row()) return Mismatch("a recurrent op's gates do not fit its weights");
  if (s->states < 0 || s->states > (s->kind == Kind::kLstm ? 2 : 1)) return Mismatch("a recurrent op's output has the wrong number of rows");
  if (y.dims[1] != s->directions || y.dims[2] != s->batch || y.dims[3] != s->hidden) return Mismatch("a recurrent op's output does not follow from its weights");
  return CheckOptional(context, *s);
}

}  // namespace

Status PrepareRecurrentF32(const OpContext& context, DriverPtr* driver) {
  return PrepareChecked<RecurrentF32>(context, CheckRecurrent, driver);
}

}  // namespace sterna
