// Layers of few codes in programs: they run on the kernels of fewer bits where those win, and give the bits that ref gives on 8.
#include <algorithm>

#include "engine/pack_program.h"
#include "kernel_cases.h"
#include "program_builder.h"
#include "run_engine.h"

namespace sterna_test {
namespace {

using sterna::ConvQ8Attrs;
using sterna::Engine;
using sterna::OpCode;

constexpr uint32_t kSide = 12, kChannels = 40, kWide = 400;

enum class Runs { kWide, kNarrow };  // on 8 bits; on fewer where that wins

// Stored values of the lowest code, and how many there are.
struct Codes {
  int32_t lo, count;
  int32_t hi() const { return lo + count - 1; }
};

class Net {
 public:
  explicit Net(DType type) : b_(type), type_(type), random_(21) {
    first_ = b_.Input(type, {1, kSide, kSide, kChannels}, 48);
    codes_ = {Lowest(type), 256};
    x_ = first_;
  }

  struct Layer {
    uint32_t kernel = 1, stride = 1, group = 1, channels = kChannels;
    int32_t weight_lo = -9, weight_hi = 9;
    Codes codes{0, 29};      // of the output, from the lowest value of the type on
    int32_t zp = 14;         // of the input, from its lowest code on
    bool residual = false, prelu = false, table = false;
    Runs runs = Runs::kNarrow;
  };

  void Add(const Layer& l) {
    const uint32_t depth = channels_ / l.group, pad = l.kernel == side_ ? 0 : l.kernel / 2, taps = l.kernel * l.kernel;
    const uint32_t side = (side_ + 2 * pad - l.kernel) / l.stride + 1;
    const Codes codes{Lowest(type_) + l.codes.lo, l.codes.count};
    std::vector<int8_t> w(l.channels * taps * depth);
    for (int8_t& v : w) v = static_cast<int8_t>(random_.Int(l.weight_lo, l.weight_hi));
    w[0] = static_cast<int8_t>(l.weight_lo), w[1] = static_cast<int8_t>(l.weight_hi);
    // Sums spread over the codes of the output.
    const float spread = static_cast<float>(codes_.count * l.weight_hi) / 6.0f * __builtin_sqrtf(static_cast<float>(taps * depth));
    const std::vector<float> scale(l.channels, static_cast<float>(codes.count) / 4.0f / spread), scale_neg(l.channels, -scale[0] / 2.0f);
    const int32_t middle = codes.lo + codes.count / 2, p = static_cast<int32_t>(l.stride), q = static_cast<int32_t>(pad);
    const ConvQ8Attrs a{{p, p, q, q, q, q, 1, 1, static_cast<int32_t>(l.group)}, codes_.lo + l.zp, middle, codes.lo, codes.hi(), middle, middle, codes.lo,
                        codes.hi(), 0.8f, 0.7f};
    const uint32_t y = b_.Output(type_, {1, side, side, l.channels}, (l.channels + 15) / 16 * 16);
    const uint32_t weights = b_.Constant(DType::kS8, {l.channels, l.kernel, l.kernel, depth}, w), scales = b_.Constant(DType::kF32, {l.channels}, scale);
    b_.Op(OpCode::kConvQ8, {x_, weights, b_.Constant(DType::kS32, {l.channels}, std::vector<int32_t>(l.channels, 7)), scales,
                            l.prelu ? b_.Constant(DType::kF32, {l.channels}, scale_neg) : sterna::kAbsent, l.table ? Table(codes) : sterna::kAbsent,
                            l.residual ? x_ : sterna::kAbsent}, y, a);
    x_ = y, side_ = side, channels_ = l.channels, codes_ = codes;
    runs_.push_back(l.runs);
  }

  Bytes Build() const { return b_.Build(); }
  const std::vector<Runs>& runs() const { return runs_; }

 private:
  // Any byte to one of `codes`.
  uint32_t Table(const Codes& codes) {
    Bytes table(256);
    for (size_t i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>(codes.lo + static_cast<int32_t>(i * 7 % static_cast<size_t>(codes.count)));
    return b_.Constant(type_, {256}, table);
  }

  ProgramBuilder b_;
  DType type_;
  Random random_;
  uint32_t first_, x_, side_ = kSide, channels_ = kChannels;
  Codes codes_;
  std::vector<Runs> runs_;
};

Net BuildNet(DType type) {
  Net net(type);
  const auto add = [&](auto change) {
    Net::Layer layer;
    change(layer);
    net.Add(layer);
  };
  add([](Net::Layer& l) { l.weight_lo = -127, l.weight_hi = 127, l.zp = 100, l.runs = Runs::kWide; });  // any byte comes in
  add([](Net::Layer&) {});
  add([](Net::Layer& l) { l.kernel = 3; });
  add([](Net::Layer& l) { l.residual = true; });
  add([](Net::Layer& l) { l.weight_lo = -10, l.runs = Runs::kWide; });                                  // 14 * 10 > 127
  add([](Net::Layer& l) { l.kernel = 3, l.zp = 60, l.runs = Runs::kWide; });                            // the padding is no code
  add([](Net::Layer& l) { l.zp = 60, l.codes = {100, 25}; });                                           // without padding, that does not matter
  add([](Net::Layer& l) { l.weight_lo = -10, l.weight_hi = 10, l.group = 4, l.kernel = 3; });
  add([](Net::Layer& l) { l.prelu = true, l.codes = {233, 23}; });
  add([](Net::Layer& l) { l.weight_lo = -11, l.weight_hi = 11, l.table = true, l.codes = {40, 16}; });
  add([](Net::Layer& l) { l.weight_lo = -8, l.weight_hi = 7, l.stride = 2, l.codes = {20, 29}; });
  add([](Net::Layer& l) { l.kernel = 6, l.zp = -14; });
  add([](Net::Layer& l) { l.channels = kWide; });
  return net;
}

std::unique_ptr<Engine> Load(const Bytes& program, const char* isa, int threads) {
  std::unique_ptr<Engine> engine;
  const sterna::Status status = Engine::Load(program.data(), program.size(), OptionsFor(isa, threads), &engine);
  EXPECT_MSG(status.ok(), Format("%s, %d threads: %s (op %d)", isa, threads, status.message, status.op));
  return engine;
}

void ExpectKernels(const Engine& engine, DType type, const char* isa, const std::vector<Runs>& runs) {
  sterna::KernelSet kernels;
  EXPECT(sterna::SelectKernels(isa, type, &kernels).ok());
  const bool wins = kernels.Wins("gemm_w46") && kernels.gemm_w46 != sterna::RefKernels(type).gemm_w46;
  for (size_t op = 0; op < runs.size(); ++op) {
    const char* expected = wins && runs[op] == Runs::kNarrow ? kernels.gemm_w46->name : kernels.gemm_q8->name;
    EXPECT_MSG(std::strcmp(engine.kernel(op), expected) == 0, Format("%s: layer %zu runs on %s instead of %s", isa, op, engine.kernel(op), expected));
  }
}

}  // namespace

STERNA_TEST(layers_of_few_codes_run_on_fewer_bits_and_give_the_bits_of_8) {
  for (DType type : {DType::kU8, DType::kS8}) {
    const Net net = BuildNet(type);
    const Bytes program = net.Build();
    const std::unique_ptr<Engine> ref = Load(program, "ref", 1);
    if (ref == nullptr) return;
    const std::vector<Bytes> expected = RunAll(*ref);
    for (const Bytes& y : expected) EXPECT(std::count(y.begin(), y.end(), y[0]) < static_cast<long>(y.size() / 2));  // layers that say something
    for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
      if (!isa.runnable) continue;
      for (int threads : {1, 2, 3}) {
        const std::unique_ptr<Engine> plain = Load(program, isa.isa, threads);
        if (plain == nullptr) return;
        ExpectKernels(*plain, type, isa.isa, net.runs());
        EXPECT_MSG(RunAll(*plain) == expected, Format("%s, %d threads: other bits than ref", isa.isa, threads));
        Bytes packed;
        EXPECT(PackProgram(program.data(), program.size(), OptionsFor(isa.isa, threads), &packed).ok());
        const std::unique_ptr<Engine> mapped = Load(packed, isa.isa, threads);
        if (mapped == nullptr) return;
        ExpectKernels(*mapped, type, isa.isa, net.runs());
        EXPECT_MSG(RunAll(*mapped) == expected, Format("%s, %d threads: other bits from packed weights", isa.isa, threads));
      }
    }
  }
}

}  // namespace sterna_test
