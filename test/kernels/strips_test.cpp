// Convolutions in strips give the bits that they give op by op; a program whose strips are not what they claim is refused.
#include "engine/strips.h"

#include <cstddef>

#include "engine/pack_program.h"
#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::ConvGeometry, sterna::ConvQ8Attrs, sterna::OpCode, sterna::UnaryKind, sterna::kAbsent;
using sterna::Engine, sterna::LoadOptions, sterna::Status, sterna::StatusCode;
using Bytes = std::vector<uint8_t>;

constexpr size_t kStripBytes = 4096;  // of the maps below a few rows

struct Layer {
  uint32_t channels;
  uint32_t kernel = 1, stride = 1, dilation = 1;
  int32_t top = 0, bottom = 0;  // pads
  bool depthwise = false;
  bool residual = false;  // of the whole chain's input
  int32_t largest = 127;  // of the weights
  bool prelu = false;
};

struct Chain {
  uint32_t h, w, c;
  std::vector<Layer> layers;
};

// Layers one after the other, whose maps between are in the arena or in strips.
class Net {
 public:
  Net(DType type, const Chain& chain, bool strips, uint64_t seed) : b(type == DType::kF32 ? DType::kU8 : type), type_(type), random_(seed) {
    h_ = chain.h, w_ = chain.w, c_ = chain.c;
    input_ = x_ = b.Input(type, {1, h_, w_, c_}, Stride(c_));
    for (size_t i = 0; i < chain.layers.size(); ++i) Add(chain.layers[i], i + 1 == chain.layers.size(), strips);
  }

  ProgramBuilder b;

 private:
  uint32_t Stride(uint32_t channels) const { return type_ == DType::kF32 ? channels + 3 : (channels + 15) / 16 * 16; }

  void Add(const Layer& l, bool last, bool strips) {
    const uint32_t extent = (l.kernel - 1) * l.dilation + 1, side = (l.kernel - 1) * l.dilation / 2;
    const uint32_t oh = (h_ + static_cast<uint32_t>(l.top + l.bottom) - extent) / l.stride + 1, ow = (w_ + 2 * side - extent) / l.stride + 1;
    const uint32_t group = l.depthwise ? c_ : 1, depth = c_ / group, stride = Stride(l.channels);
    const int32_t step = static_cast<int32_t>(l.stride), dilation = static_cast<int32_t>(l.dilation), pad = static_cast<int32_t>(side);
    const ConvGeometry g{step, step, l.top, pad, l.bottom, pad, dilation, dilation, static_cast<int32_t>(group)};
    const uint32_t y = last ? b.Output(type_, {1, oh, ow, l.channels}, stride) : strips ? b.Strip(type_, {1, oh, ow, l.channels}, stride) : b.Tensor(type_, {1, oh, ow, l.channels}, stride);
    if (type_ == DType::kF32) AddF32(l, g, depth, y);
    else AddQ8(l, g, depth, y);
    x_ = y, h_ = oh, w_ = ow, c_ = l.channels;
  }
  void AddQ8(const Layer& l, const ConvGeometry& g, uint32_t depth, uint32_t y) {
    const uint32_t taps = l.kernel * l.kernel * depth;
    std::vector<int8_t> w(l.channels * taps);
    for (int8_t& v : w) v = static_cast<int8_t>(random_.Int(-l.largest, l.largest));
    std::vector<int32_t> bias(l.channels);
    for (int32_t& v : bias) v = random_.Int(-3000, 3000);
    const std::vector<float> scale(l.channels, 0.05f / static_cast<float>(taps)), negative(l.channels, -0.02f / static_cast<float>(taps));
    const int32_t lo = Lowest(type_), codes = l.largest < 127 ? 28 : 255;  // of the output: few where the weights are small
    const ConvQ8Attrs a{g, lo + 14, lo + codes / 2, lo, lo + codes, lo + 128, lo + 128, lo, lo + 255, 0.6f, 0.7f};
    const uint32_t weights = b.Constant(DType::kS8, {l.channels, l.kernel, l.kernel, depth}, w), biases = b.Constant(DType::kS32, {l.channels}, bias);
    const uint32_t scales = b.Constant(DType::kF32, {l.channels}, scale), negatives = b.Constant(DType::kF32, {l.channels}, negative);
    b.Op(OpCode::kConvQ8, {x_, weights, biases, scales, l.prelu ? negatives : kAbsent, kAbsent, l.residual ? input_ : kAbsent}, y, a);
  }
  void AddF32(const Layer& l, const ConvGeometry& g, uint32_t depth, uint32_t y) {
    std::vector<float> w(l.channels * l.kernel * l.kernel * depth), bias(l.channels);
    for (float& v : w) v = random_.Float(-0.2f, 0.2f);
    for (float& v : bias) v = random_.Float(-0.5f, 0.5f);
    const int32_t unary = static_cast<int32_t>(l.prelu ? UnaryKind::kSigmoid : UnaryKind::kRelu);
    const uint32_t weights = b.Constant(DType::kF32, {l.channels, l.kernel, l.kernel, depth}, w), biases = b.Constant(DType::kF32, {l.channels}, bias);
    b.Op(OpCode::kConvF32, {x_, weights, biases, kAbsent, l.residual ? input_ : kAbsent}, y, sterna::ConvF32Attrs{g, unary, 0, 0, 0});
  }

  DType type_;
  Random random_;
  uint32_t input_, x_, h_, w_, c_;
};

Layer Pointwise(uint32_t channels, bool residual = false) {
  Layer l{channels};
  l.residual = residual;
  return l;
}
Layer Slides(uint32_t channels, uint32_t kernel, uint32_t stride, bool depthwise = true) { return {channels, kernel, stride, 1, static_cast<int32_t>(kernel / 2), static_cast<int32_t>(kernel / 2), depthwise}; }

std::vector<Chain> Chains() {
  Layer dilated{44, 3, 1, 2, 2, 2, true}, ragged{44, 5, 2, 1, 4, 0, true}, sparse{44, 1, 3, 1, 0, 2, true}, padded{44, 2, 1, 1, 3, 3, true};
  Layer activated = Slides(44, 3, 1), few = Pointwise(44), narrow = Slides(44, 3, 1), last = Pointwise(20);
  activated.prelu = true;
  few.largest = narrow.largest = last.largest = 4;
  return {
      {31, 13, 16, {Pointwise(44), Slides(44, 3, 1), Pointwise(24)}},
      {30, 13, 24, {Pointwise(44), Slides(44, 3, 1), Pointwise(24, true)}},
      {29, 10, 16, {Pointwise(44), Slides(44, 3, 2), Pointwise(20)}},
      {27, 9, 12, {Pointwise(44), Slides(44, 5, 1), Pointwise(12, true)}},
      {33, 13, 16, {Pointwise(44), ragged, Pointwise(24)}},
      {26, 13, 16, {Pointwise(44), dilated, Pointwise(24)}},
      {31, 13, 16, {Pointwise(44), sparse, Pointwise(24)}},
      {23, 13, 16, {Pointwise(44), padded, Pointwise(24)}},
      {31, 13, 44, {Slides(44, 3, 1), Pointwise(24)}},
      {37, 29, 3, {Slides(32, 3, 2, false), Slides(32, 3, 1), Pointwise(16)}},
      {29, 13, 16, {Pointwise(44), activated, Pointwise(24), Slides(24, 5, 2), Pointwise(32)}},
      {25, 13, 16, {few, narrow, last}},
      {3, 13, 16, {Pointwise(44), Slides(44, 3, 1), Pointwise(24)}},
      {31, 13, 16, {Pointwise(20), Slides(24, 3, 1, false), Pointwise(12)}},
      {30, 29, 8, {Slides(12, 3, 2, false), Slides(20, 5, 1, false), Slides(16, 3, 2, false)}},
      {12, 7, 8, {Pointwise(12), Slides(20, 3, 1, false)}},
  };
}

LoadOptions OptionsFor(const char* isa, int threads) {
  static sterna::CoreBudget budget(64);
  LoadOptions options;
  options.isa = isa;
  options.threads = threads;
  options.budget = &budget;
  options.strip_bytes = kStripBytes;
  return options;
}

Status Load(const Bytes& bytes, const LoadOptions& options, std::unique_ptr<Engine>* engine) { return Engine::Load(bytes.data(), bytes.size(), options, engine); }

Bytes RunOnce(Engine& engine, DType type, double* op_ms = nullptr) {
  Bytes in(engine.InputBytes(0)), out(engine.OutputBytes(0));
  Random random(5);
  if (type == DType::kF32) for (size_t i = 0; i < in.size() / 4; ++i) reinterpret_cast<float*>(in.data())[i] = random.Float(-1, 1);
  else for (uint8_t& v : in) v = static_cast<uint8_t>(random.Next());
  const uint8_t* inputs[] = {in.data()};
  uint8_t* outputs[] = {out.data()};
  EXPECT(engine.Run(inputs, outputs, op_ms).ok());
  return out;
}

void ExpectSameBits(const Bytes& program, const Bytes& expected, DType type, const LoadOptions& options, size_t chain) {
  std::unique_ptr<Engine> engine;
  const Status status = Load(program, options, &engine);
  EXPECT_MSG(status.ok(), Format("chain %zu on %s: %s (op %d)", chain, options.isa, status.message, status.op));
  for (int run = 0; status.ok() && run < 2; ++run) EXPECT_MSG(RunOnce(*engine, type) == expected, Format("chain %zu on %s, %d threads, type %d", chain, options.isa, options.threads, static_cast<int>(type)));
}

// Whether an ISA has 8-bit kernels of its own for a type; ref, which takes longest, gets each on half of the chains.
bool HasKernels(const char* isa, DType type, size_t chain) {
  if (type == DType::kF32) return true;
  if (std::strcmp(isa, "ref") == 0) return (type == DType::kU8) == (chain % 2 == 0);
  return (type == DType::kS8) == (std::strncmp(isa, "neon", 4) == 0);
}

// What a program says of two maps of a strip between its input and its output, all of one size.
struct Claims {
  explicit Claims(uint32_t images = 1)
      : b(DType::kU8), x(b.Input(DType::kU8, {images, 4, 4, 8}, 16)), s(b.Strip(DType::kU8, {images, 4, 4, 8}, 16)), t(b.Strip(DType::kU8, {images, 4, 4, 8}, 16)), y(b.Output(DType::kU8, {images, 4, 4, 8}, 16)) {}

  Claims& Conv(uint32_t from, uint32_t to, uint32_t residual = kAbsent, uint32_t side = 1, uint32_t stride = 1) {
    const int32_t pad = static_cast<int32_t>(side / 2), step = static_cast<int32_t>(stride);
    const uint32_t w = b.Constant(DType::kS8, {8, side, side, 8}, std::vector<int8_t>(64 * side * side, 3)), bias = b.Constant(DType::kS32, {8}, std::vector<int32_t>(8, 1));
    const ConvQ8Attrs a{{step, step, pad, pad, pad, pad, 1, 1, 1}, 0, 0, 0, 255, 0, 0, 0, 255, 1, 1};
    b.Op(OpCode::kConvQ8, {from, w, bias, b.Constant(DType::kF32, {8}, std::vector<float>(8, 0.1f)), kAbsent, kAbsent, residual}, to, a);
    return *this;
  }
  Claims& Resize(uint32_t from, uint32_t to) {
    b.Op(OpCode::kResizeQ8, {from}, to, sterna::ResizeAttrs{0, 0, 0, 1, 1, 0});
    return *this;
  }
  Claims& Transpose(uint32_t from, uint32_t to) {
    b.Op(OpCode::kTranspose, {from}, to, sterna::TransposeAttrs{{0, 2, 1, 3}});
    return *this;
  }
  void Refused(const char* message) const {
    std::unique_ptr<Engine> engine;
    const Status status = Load(b.Build(), OptionsFor("ref", 2), &engine);
    EXPECT_MSG(status.code == StatusCode::kMalformedProgram && std::strcmp(status.message, message) == 0, Format("expected '%s' but received '%s' (op %d)", message, status.message, status.op));
  }

  ProgramBuilder b;
  const uint32_t x, s, t, y;
};

}  // namespace

STERNA_TEST(strips_give_the_bits_of_op_by_op) {
  const std::vector<Chain> chains = Chains();
  for (size_t i = 0; i < chains.size(); ++i) {
    for (DType type : {DType::kU8, DType::kS8, DType::kF32}) {
      const Bytes plain = Net(type, chains[i], false, i).b.Build(), strips = Net(type, chains[i], true, i).b.Build();
      for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
        std::unique_ptr<Engine> engine;
        if (!isa.runnable || !HasKernels(isa.isa, type, i) || (type == DType::kF32 && chains[i].layers[0].largest < 127)) continue;
        EXPECT(Load(plain, OptionsFor(isa.isa, 1), &engine).ok());
        const Bytes expected = RunOnce(*engine, type);
        for (int threads : {1, 2 + static_cast<int>(i % 3)}) ExpectSameBits(strips, expected, type, OptionsFor(isa.isa, threads), i);
        if (i % 4 != 0) continue;
        Bytes packed;
        EXPECT(sterna::PackProgram(strips.data(), strips.size(), OptionsFor(isa.isa, 2), &packed).ok());
        ExpectSameBits(packed, expected, type, OptionsFor(isa.isa, 2), i);
      }
    }
  }
}

STERNA_TEST(strips_take_less_memory_and_tell_their_ops_apart) {
  const Chain chain{16, 12, 24, {Pointwise(48), Slides(48, 3, 1), Pointwise(24, true)}};
  std::unique_ptr<Engine> plain, strips;
  EXPECT(Load(Net(DType::kU8, chain, false, 1).b.Build(), OptionsFor("ref", 1), &plain).ok());
  EXPECT(Load(Net(DType::kU8, chain, true, 1).b.Build(), OptionsFor("ref", 1), &strips).ok());
  EXPECT_MSG(plain->arena_bytes() - strips->arena_bytes() == 2 * 16 * 12 * 48, Format("%llu", static_cast<unsigned long long>(plain->arena_bytes() - strips->arena_bytes())));
  // 4 rows of 576 bytes and 2 of as many, and 64 that may be read after each map.
  const size_t rows = 6 * 576 + 128;
  EXPECT_MSG(strips->scratch_bytes() - plain->scratch_bytes() == rows, Format("%llu", static_cast<unsigned long long>(strips->scratch_bytes() - plain->scratch_bytes())));
  double op_ms[3] = {};
  RunOnce(*strips, DType::kU8, op_ms);
  EXPECT(op_ms[0] > 0 && op_ms[1] > 0 && op_ms[2] > 0);
  for (size_t op = 0; op < 3; ++op) EXPECT(strips->note(op).find("in strips of 2 rows") != std::string::npos && std::strcmp(strips->kernel(op), plain->kernel(op)) == 0);
}

STERNA_TEST(strips_that_are_not_what_they_claim_are_refused) {
  const Claims c;  // the ids of the tensors, which are the same in all
  const uint32_t x = c.x, s = c.s, t = c.t, y = c.y;
  std::unique_ptr<Engine> engine;
  EXPECT(Load(Claims().Conv(x, s).Conv(s, t).Conv(t, y, x).b.Build(), OptionsFor("ref", 2), &engine).ok());

  const char* unread = "the next op does not read a map of a strip";
  Claims().Conv(x, s).Conv(x, y).Refused(unread);
  Claims().Conv(x, s).Conv(x, y, s).Refused(unread);
  Claims().Conv(x, s).Conv(x, t).Conv(t, y).Refused(unread);
  const char* unwritten = "an op reads a map of a strip that the op before has not written for it";
  Claims().Conv(s, y).Refused(unwritten);
  Claims().Conv(x, s).Conv(s, y, s).Refused(unwritten);
  Claims().Conv(x, s).Conv(s, t).Conv(t, y, s).Refused(unwritten);
  Claims().Conv(x, s).Conv(s, y).Conv(s, y).Refused(unwritten);
  Claims().Conv(x, s).Conv(s, y).Conv(x, s).Conv(s, y).Refused("two ops write a map of a strip");
  Claims().Conv(x, y).Conv(x, s).Refused("the last op writes a map of a strip");
  Claims().Conv(x, s).Conv(s, t).Conv(t, x).Refused("the output of a strip overlaps an input of one of its ops");
  Claims().Conv(x, s).Conv(s, y, y).Refused("the output of a strip overlaps an input of one of its ops");
  Claims().Conv(x, s).Resize(s, y).Refused("an op of this kind cannot be in a strip");
  Claims().Resize(x, s).Conv(s, y).Refused("an op of this kind cannot be in a strip");

  Claims().Conv(x, s).Transpose(s, y).Refused("an op of this kind cannot be in a strip");
  Claims().Conv(x, s).Transpose(s, t).Conv(t, y).Refused("an op of this kind cannot be in a strip");

  const char* form = "a convolution of this form cannot be at this place of a strip";
  Claims(2).Conv(x, s).Conv(s, y).Refused(form);
  Claims().Transpose(x, s).Conv(s, y).Refused(form);  // not from channels first
  Claims strided;
  strided.Conv(x, strided.b.Strip(DType::kU8, {1, 2, 2, 8}, 16), kAbsent, 1, 2).Conv(y + 1, strided.b.Output(DType::kU8, {1, 2, 2, 8}, 16)).Refused(form);

  Claims many;
  std::vector<uint32_t> maps = {x};
  for (uint32_t i = 0; i < sterna::kMaxStripOps; ++i) maps.push_back(many.b.Strip(DType::kU8, {1, 4, 4, 8}, 16));
  maps.push_back(y);
  for (size_t i = 0; i + 1 < maps.size(); ++i) many.Conv(maps[i], maps[i + 1]);
  many.Refused("a strip has too many ops");
}

STERNA_TEST(maps_of_strips_are_no_ports_and_have_no_offset) {
  Bytes bytes = Claims().Conv(0, 1).Conv(1, 2).Conv(2, 3).b.Build();
  const auto status_of = [](const Bytes& program) {
    std::unique_ptr<Engine> engine;
    return Load(program, OptionsFor("ref", 1), &engine);
  };
  EXPECT(status_of(bytes).ok());
  Bytes moved = bytes;
  moved[64 + 48 + offsetof(sterna::TensorRecord, offset)] = 16;
  EXPECT_MSG(std::strcmp(status_of(moved).message, "a map of a strip has an offset") == 0, status_of(moved).message);
  sterna::ProgramHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const size_t ids = sterna::RoundUp(sterna::RoundUp(64 + header.tensor_count * 48, 64) + header.ops_bytes, 64);
  for (size_t port : {0, 1}) {
    Bytes crossing = bytes;
    crossing[ids + 4 * port] = 1;
    EXPECT_MSG(status_of(crossing).code == StatusCode::kMalformedProgram, status_of(crossing).message);
  }
}

}  // namespace sterna_test
