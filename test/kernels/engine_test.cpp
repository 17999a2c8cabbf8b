// The engine as a whole: one program with most ops in it gives the same bits on every ISA (8-bit part) and for every number of
// threads, and hostile bytes give a status, never a crash. Built with sanitizers this is the fuzz test of the loader.
#include "engine/engine.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::ConvF32Attrs;
using sterna::ConvGeometry;
using sterna::ConvQ8Attrs;
using sterna::Engine;
using sterna::OpCode;
using sterna::Status;
using sterna::StatusCode;

constexpr uint32_t kSide = 20, kChannels = 24;
constexpr size_t kInputBytes = kSide * kSide * 3 * 4, kBytesOut = kSide * kSide * kChannels, kFloatsOut = kChannels * 4;

// A program under construction, with random weights.
class Net {
 public:
  explicit Net(DType type) : b(type), type_(type), random_(9) {}

  uint32_t ConvQ8(uint32_t x, uint32_t x_channels, uint32_t channels, uint32_t side, ConvGeometry g, uint32_t kernel, uint32_t residual = sterna::kAbsent) {
    const uint32_t group = static_cast<uint32_t>(g.group), depth = x_channels / group;
    std::vector<int8_t> w(channels * kernel * kernel * depth);
    for (int8_t& v : w) v = static_cast<int8_t>(random_.Int(-127, 127));
    const uint32_t y = b.Tensor(type_, {1, side, side, channels}, channels + 8);
    ConvQ8Attrs a{g, Zp(), Zp(), Zp() - 100, Zp() + 120, Zp(), Zp(), Zp() - 128, Zp() + 127, 0.6f, 0.7f};
    const uint32_t ids[] = {b.Constant(DType::kS8, {channels, kernel, kernel, depth}, w), b.Constant(DType::kS32, {channels}, std::vector<int32_t>(channels, 77)),
                            b.Constant(DType::kF32, {channels}, std::vector<float>(channels, 0.02f / static_cast<float>(kernel * kernel * depth)))};
    b.Op(OpCode::kConvQ8, {x, ids[0], ids[1], ids[2], sterna::kAbsent, sterna::kAbsent, residual}, y, a);
    return y;
  }
  uint32_t ConvF32(uint32_t x, uint32_t channels, uint32_t side, ConvGeometry g, uint32_t kernel) {
    std::vector<float> w(channels * kernel * kernel * channels / static_cast<uint32_t>(g.group));
    for (float& v : w) v = random_.Float(-0.2f, 0.2f);
    const uint32_t y = b.Tensor(DType::kF32, {1, side, side, channels});
    const uint32_t weights = b.Constant(DType::kF32, {channels, kernel, kernel, channels / static_cast<uint32_t>(g.group)}, w);
    b.Op(OpCode::kConvF32, {x, weights}, y, ConvF32Attrs{g, 3, 0, 0, 0});
    return y;
  }
  int32_t Zp() const { return Lowest(type_) + 128; }
  DType type() const { return type_; }
  std::vector<float> Floats(size_t n) {
    std::vector<float> values(n);
    for (float& v : values) v = random_.Float(-0.5f, 0.5f);
    return values;
  }

  ProgramBuilder b;

 private:
  DType type_;
  Random random_;
};

constexpr ConvGeometry Geometry(int32_t stride, int32_t pad, int32_t group) { return {stride, stride, pad, pad, pad, pad, 1, 1, group}; }

// Integer sums of a feature map, and an LSTM over a constant sequence whose states are resampled to [1, 1, 4, kChannels].
uint32_t AddSequence(Net& net, uint32_t pooled) {
  constexpr uint32_t kSteps = 4, kBatch = 2, kHidden = 5, kTaps = 2, kSums = 7;
  ProgramBuilder& b = net.b;
  const uint32_t zero = b.Constant(net.type(), {1}, std::vector<uint8_t>{100}), sums = b.Tensor(DType::kS32, {1, kSide / 2, kSide / 2, kSums});
  b.Op(OpCode::kMatMulS32, {pooled, b.Constant(net.type(), {kChannels, kSums}, std::vector<uint8_t>(kChannels * kSums, 0x9c)), zero, zero}, sums);
  const uint32_t gates = b.Constant(DType::kF32, {kSteps, kBatch, 2 * 4 * kHidden}, net.Floats(kSteps * kBatch * 8 * kHidden));
  const uint32_t recurrence = b.Constant(DType::kF32, {2, 4 * kHidden, kHidden}, net.Floats(8 * kHidden * kHidden));
  const uint32_t lengths = b.Constant(DType::kS32, {kBatch}, std::vector<int32_t>{4, 2}), states = b.Tensor(DType::kF32, {kSteps + 2, 2, kBatch, kHidden}, 8);
  b.Op(OpCode::kRecurrentF32, {gates, recurrence, sterna::kAbsent, sterna::kAbsent, sterna::kAbsent, sterna::kAbsent, lengths}, states,
       sterna::RecurrentAttrs{2, 2, 0, 0, 3.0f, {3, 4, 4, 3, 4, 4}, {}, {}});
  const uint32_t wide = b.Tensor(DType::kF32, {kSteps + 2, 2, kBatch, kChannels}), taken = b.Tensor(DType::kF32, {1, 1, kSteps, kChannels});
  const uint32_t indices = b.Constant(DType::kS32, {kChannels, kTaps}, std::vector<int32_t>(kChannels * kTaps, 3));
  b.Op(OpCode::kResampleF32, {states, indices, b.Constant(DType::kF32, {kChannels, kTaps}, net.Floats(kChannels * kTaps))}, wide, sterna::ResampleAttrs{3});
  const uint32_t turned = b.Tensor(DType::kF32, {2, kBatch, kSteps + 2, kChannels});
  b.Op(OpCode::kTranspose, {wide}, turned, sterna::TransposeAttrs{{1, 2, 0, 3, 0, 0}});
  b.Op(OpCode::kCopy, {turned}, taken, sterna::CopyAttrs{{1, 1, kSteps, kChannels, 0, 0}, {1, 0, 2, 0, 0, 0}, {1, 1, 1, 1, 0, 0}, {}, {1, 1, 1, 1, 0, 0}});
  return taken;
}

// Input: f32 image. Outputs: an 8-bit feature map, and floats.
std::vector<uint8_t> BuildNet(DType type) {
  Net net(type);
  ProgramBuilder& b = net.b;
  const uint32_t image = b.Input(DType::kF32, {1, 3, kSide, kSide}), nhwc = b.Tensor(DType::kF32, {1, kSide, kSide, 3});
  const uint32_t q = b.Tensor(type, {1, kSide, kSide, 3}, 16), out_q8 = b.Output(type, {1, kSide, kSide, kChannels}), out_f32 = b.Output(DType::kF32, {1, 1, 4, kChannels});
  b.Op(OpCode::kTranspose, {image}, nhwc, sterna::TransposeAttrs{{0, 2, 3, 1, 0, 0}});
  b.Op(OpCode::kQuantize, {nhwc}, q, sterna::QuantizeAttrs{0.01f, net.Zp()});
  const uint32_t stem = net.ConvQ8(q, 3, kChannels, kSide, Geometry(1, 1, 1), 3);
  const uint32_t dw = net.ConvQ8(stem, kChannels, kChannels, kSide, Geometry(1, 1, kChannels), 3);
  const uint32_t pw = net.ConvQ8(dw, kChannels, kChannels, kSide, Geometry(1, 0, 1), 1, stem);
  const uint32_t grouped = net.ConvQ8(pw, kChannels, kChannels, kSide, Geometry(1, 1, 2), 3);
  const uint32_t sum = b.Tensor(type, {1, kSide, kSide, kChannels}, 32), pooled = b.Tensor(type, {1, kSide / 2, kSide / 2, kChannels});
  b.Op(OpCode::kBinaryQ8, {pw, grouped}, sum, sterna::BinaryQ8Attrs{0, net.Zp(), net.Zp(), net.Zp(), net.Zp() - 128, net.Zp() + 127, 0.5f, 0.7f});
  b.Op(OpCode::kPoolQ8, {sum}, pooled, sterna::PoolAttrs{1, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 1, net.Zp(), net.Zp(), net.Zp() - 128, net.Zp() + 127, 1.1f});
  b.Op(OpCode::kResizeQ8, {pooled}, out_q8, sterna::ResizeAttrs{1, 0, 0, 2.0f, 2.0f, net.Zp()});
  const uint32_t f = b.Tensor(DType::kF32, {1, kSide / 2, kSide / 2, kChannels}), soft = b.Tensor(DType::kF32, {1, kSide / 2, kSide / 2, kChannels});
  b.Op(OpCode::kDequantize, {pooled}, f, sterna::QuantizeAttrs{0.05f, net.Zp()});
  const uint32_t conv = net.ConvF32(f, kChannels, kSide / 2, Geometry(1, 1, 1), 3), conv_dw = net.ConvF32(conv, kChannels, kSide / 2, Geometry(1, 1, kChannels), 3);
  b.Op(OpCode::kSoftmaxF32, {conv_dw}, soft, sterna::SoftmaxAttrs{3, 0});
  const uint32_t mean = b.Tensor(DType::kF32, {1, 1, 1, kChannels}), scaled = b.Tensor(DType::kF32, {1, kSide / 2, kSide / 2, kChannels});
  b.Op(OpCode::kReduceF32, {soft}, mean, sterna::ReduceAttrs{0, 6});
  b.Op(OpCode::kBinaryF32, {conv_dw, mean}, scaled, sterna::BinaryF32Attrs{2, 24, 0, 0});
  const uint32_t rows = b.Tensor(DType::kF32, {1, kSide / 2, 1, kChannels}), padded = b.Tensor(DType::kF32, {1, 16, 1, kChannels});
  const uint32_t four = b.Tensor(DType::kF32, {1, 4, 1, kChannels}), turned = b.Tensor(DType::kF32, {1, 1, 4, kChannels});
  b.Op(OpCode::kCopy, {scaled}, rows, sterna::CopyAttrs{{1, kSide / 2, 1, kChannels, 0, 0}, {0, 9, 3, 0, 0, 0}, {1, -1, 1, 1, 0, 0}, {}, {1, 1, 1, 1, 0, 0}});
  b.Op(OpCode::kPad, {rows}, padded, sterna::PadAttrs{1, {0, 3, 0, 0, 0, 0}, 0.0f});
  b.Op(OpCode::kGather, {padded, b.Constant(DType::kS32, {4}, std::vector<int32_t>{0, 5, -1, 8})}, four, sterna::GatherAttrs{1});
  b.Op(OpCode::kTranspose, {four}, turned, sterna::TransposeAttrs{{0, 2, 1, 3, 0, 0}});
  const uint32_t product = b.Tensor(DType::kF32, {1, 1, 4, kChannels});
  b.Op(OpCode::kMatMulF32, {b.Constant(DType::kF32, {1, 1, 4, 4}, std::vector<float>(16, 0.5f)), turned}, product, sterna::MatMulAttrs{0, 0, 1.5f});
  b.Op(OpCode::kBinaryF32, {product, AddSequence(net, pooled)}, out_f32, sterna::BinaryF32Attrs{0, 0, 0, 0});
  return b.Build();
}

struct Outputs {
  std::vector<uint8_t> bytes = std::vector<uint8_t>(kBytesOut), floats = std::vector<uint8_t>(kFloatsOut * 4);
};

Status RunNet(Engine& engine, Outputs* outputs) {
  std::vector<float> image(kInputBytes / 4);
  Random random(3);
  for (float& v : image) v = random.Float(-1.5f, 1.5f);
  const uint8_t* in[] = {reinterpret_cast<const uint8_t*>(image.data())};
  uint8_t* out[] = {outputs->bytes.data(), outputs->floats.data()};
  return engine.Run(in, out);
}

bool LoadAndRun(const std::vector<uint8_t>& program, const char* isa, int threads, Outputs* outputs) {
  std::unique_ptr<Engine> engine;
  sterna::CoreBudget many_cores(64);
  sterna::LoadOptions options;
  options.budget = &many_cores;
  options.isa = isa;
  options.threads = threads;
  Status status = Engine::Load(program.data(), program.size(), options, &engine);
  if (status.ok()) status = RunNet(*engine, outputs);
  EXPECT_MSG(status.ok(), Format("%s, %d threads: %s (op %d)", isa, threads, status.message, status.op));
  return status.ok();
}

// Loads mutated bytes; whatever loads must run without harm. Engine::Run copies as many bytes as the program's ports say.
void LoadHostile(const std::vector<uint8_t>& program, int* loaded) {
  std::unique_ptr<Engine> engine;
  sterna::LoadOptions options;
  options.memory_limit = 8u << 20;
  const Status status = Engine::Load(program.data(), program.size(), options, &engine);
  if (!status.ok()) {
    EXPECT(status.message[0] != '\0');
    return;
  }
  ++*loaded;
  std::vector<std::vector<uint8_t>> memory;
  std::vector<const uint8_t*> in;
  std::vector<uint8_t*> out;
  for (size_t i = 0; i < engine->input_count(); ++i) memory.emplace_back(engine->InputBytes(i), uint8_t{0x40});
  for (size_t i = 0; i < engine->output_count(); ++i) memory.emplace_back(engine->OutputBytes(i));
  for (size_t i = 0; i < memory.size(); ++i) i < engine->input_count() ? in.push_back(memory[i].data()) : out.push_back(memory[i].data());
  (void)engine->Run(in.data(), out.data());
}

}  // namespace

STERNA_TEST(every_isa_and_any_number_of_threads_give_the_same_bits) {
  for (DType type : {DType::kU8, DType::kS8}) {
    const std::vector<uint8_t> program = BuildNet(type);
    Outputs expected;
    if (!LoadAndRun(program, "ref", 1, &expected)) return;
    for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
      if (!isa.runnable) continue;
      Outputs single;
      LoadAndRun(program, isa.isa, 1, &single);
      EXPECT_MSG(single.bytes == expected.bytes, Format("%s differs from ref", isa.isa));
      for (int threads : {2, 3, 7}) {
        Outputs shared;
        LoadAndRun(program, isa.isa, threads, &shared);
        EXPECT_MSG(shared.bytes == expected.bytes && shared.floats == single.floats, Format("%s differs with %d threads", isa.isa, threads));
      }
    }
  }
}

// Many CPUs multiply subnormal numbers 150 times as slowly as others.
STERNA_TEST(products_of_floats_take_subnormal_numbers_as_zero_and_leave_the_callers_mode) {
  constexpr uint32_t kWide = 64, kDeep = 8;
  constexpr float kSmallest = std::numeric_limits<float>::min(), kSubnormal = kSmallest / 4, kInfinity = std::numeric_limits<float>::infinity();
  ProgramBuilder b(DType::kU8);
  const uint32_t x = b.Input(DType::kF32, {1, kWide, kWide, kDeep}), y = b.Output(DType::kF32, {1, kWide, kWide, kDeep}), same = b.Output(DType::kF32, {1, kWide, kWide, kDeep});
  std::vector<float> identity(kDeep * kDeep);
  for (uint32_t i = 0; i < kDeep; ++i) identity[i * kDeep + i] = 1.0f;
  b.Op(OpCode::kConvF32, {x, b.Constant(DType::kF32, {kDeep, 1, 1, kDeep}, identity)}, y, ConvF32Attrs{Geometry(1, 0, 1), 0, 0, 0, 0});
  b.Op(OpCode::kBinaryF32, {x, b.Constant(DType::kF32, {1}, std::vector<float>{1.0f})}, same, sterna::BinaryF32Attrs{2, 0, 0, 0});
  const std::vector<uint8_t> program = b.Build();
  const float values[] = {kSmallest, kSubnormal, -kSubnormal, -kSmallest, 0.0f, 3.0f, kInfinity};
  std::vector<float> in(kWide * kWide * kDeep), products(in.size()), others(in.size());
  for (size_t i = 0; i < in.size(); i += kDeep) in[i + i / kDeep % kDeep] = values[i / kDeep % 7];  // one a pixel: infinity times 0 is no number
  const uint8_t* inputs[] = {reinterpret_cast<const uint8_t*>(in.data())};
  uint8_t* outputs[] = {reinterpret_cast<uint8_t*>(products.data()), reinterpret_cast<uint8_t*>(others.data())};
  for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
    if (!isa.runnable) continue;
    for (int threads : {1, 2}) {
      std::unique_ptr<Engine> engine;
      sterna::CoreBudget many_cores(64);
      sterna::LoadOptions options;
      options.isa = isa.isa, options.threads = threads, options.budget = &many_cores;
      EXPECT(Engine::Load(program.data(), program.size(), options, &engine).ok());
      EXPECT(engine->Run(inputs, outputs).ok());
      for (size_t i = 0; i < in.size(); ++i) {
        if (std::isinf(in[i - i % kDeep + i / kDeep % kDeep])) continue;
        const float expected = std::fabs(in[i]) < kSmallest ? 0.0f : in[i];
        EXPECT_MSG(products[i] == expected, Format("%s, %d threads: product %g of %g", isa.isa, threads, static_cast<double>(products[i]), static_cast<double>(in[i])));
        EXPECT_MSG(std::memcmp(&others[i], &in[i], 4) == 0, Format("%s, %d threads: %g became %g", isa.isa, threads, static_cast<double>(in[i]), static_cast<double>(others[i])));
      }
      volatile float half = kSmallest;
      half = half / 2;
      EXPECT_MSG(half > 0.0f, "a run leaves the caller without subnormal numbers");
    }
  }
}

STERNA_TEST(a_loaded_program_gives_the_same_bits_every_time) {
  const std::vector<uint8_t> program = BuildNet(DType::kU8);
  std::unique_ptr<Engine> engine;
  sterna::LoadOptions options;
  options.threads = 2;
  EXPECT(Engine::Load(program.data(), program.size(), options, &engine).ok());
  Outputs first;
  EXPECT(RunNet(*engine, &first).ok());
  for (int i = 0; i < 200; ++i) {
    Outputs again;
    EXPECT(RunNet(*engine, &again).ok());
    EXPECT(again.bytes == first.bytes && again.floats == first.floats);
  }
}

STERNA_TEST(a_budget_of_cores_lends_what_is_free) {
  sterna::CoreBudget budget(4);
  EXPECT(budget.Enter(2) == 2);
  EXPECT(budget.Enter(7) == 0);  // the caller itself takes the last core
  EXPECT(budget.Keep(2) == 2);
  EXPECT(budget.Enter(1) == 0);  // a caller computes in any case, and the first one gives way
  EXPECT(budget.Keep(0) == 0);
  EXPECT(budget.Keep(2) == 1);
  EXPECT(budget.Keep(1) == 1);
  budget.Leave(0);
  budget.Leave(0);
  budget.Leave(1);
  EXPECT(budget.Enter(63) == 3);
  EXPECT(&sterna::CoreBudget::Of({0}) == &sterna::CoreBudget::Of({0}) && &sterna::CoreBudget::Of({0}) != &sterna::CoreBudget::Of({}));
}

// Programs that take helpers from each other in the middle of an inference.
STERNA_TEST(programs_that_run_at_once_share_the_cores_and_give_the_same_bits) {
  const std::vector<uint8_t> program = BuildNet(DType::kU8);
  Outputs expected;
  if (!LoadAndRun(program, "ref", 1, &expected)) return;
  sterna::CoreBudget budget(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      std::unique_ptr<Engine> engine;
      sterna::LoadOptions options;
      options.threads = 3;
      options.isa = "ref";
      options.budget = &budget;
      if (!Engine::Load(program.data(), program.size(), options, &engine).ok()) ++wrong;
      for (int i = 0; i < 50 && wrong == 0; ++i) {
        Outputs again;
        if (!RunNet(*engine, &again).ok() || again.bytes != expected.bytes || again.floats != expected.floats) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(wrong == 0);
  EXPECT(budget.Enter(2) == 2);  // all was given back
}

STERNA_TEST(a_program_cut_short_anywhere_is_refused) {
  const std::vector<uint8_t> program = BuildNet(DType::kU8);
  int loaded = 0;
  for (size_t size = 0; size < program.size(); size += size < 4096 ? 1 : 37) LoadHostile(std::vector<uint8_t>(program.begin(), program.begin() + static_cast<long>(size)), &loaded);
  EXPECT(loaded == 0);
}

STERNA_TEST(a_program_with_flipped_bytes_is_refused_or_runs) {
  const std::vector<uint8_t> program = BuildNet(DType::kU8);
  sterna::ProgramHeader header;
  std::memcpy(&header, program.data(), sizeof(header));
  const size_t structure = header.const_offset;  // everything but weights
  Random random(12);
  const size_t step = sterna_test::DamageStep();
  int loaded = 0;
  for (size_t at = 0; at < structure; at += step) {
    for (const uint8_t value : {uint8_t{0xff}, uint8_t{0x80}, static_cast<uint8_t>(program[at] + 1), static_cast<uint8_t>(random.Next())}) {
      std::vector<uint8_t> mutated = program;
      mutated[at] = value;
      LoadHostile(mutated, &loaded);
    }
  }
  for (size_t i = 0; i < 1500 / step; ++i) {
    std::vector<uint8_t> mutated = program;
    for (int flips = random.Int(1, 6); flips > 0; --flips) mutated[static_cast<size_t>(random.Int(0, static_cast<int32_t>(structure) - 1))] = static_cast<uint8_t>(random.Next());
    LoadHostile(mutated, &loaded);
  }
  EXPECT_MSG(loaded > static_cast<int>(100 / step), "too few mutations load for this test to say much");
}

// Tables that ops keep beside their tensors count too: an op of 60 bytes may ask for megabytes of them.
STERNA_TEST(tables_of_ops_count_against_the_memory_limit) {
  constexpr uint32_t kLong = 1 << 15;
  const auto program = [](int pads, int resizes) {
    ProgramBuilder b(DType::kU8);
    const uint32_t x = b.Input(DType::kU8, {1, kLong, 1, 1}), y = b.Output(DType::kU8, {1, kLong, 1, 1});
    for (int i = 0; i < pads; ++i) b.Op(OpCode::kPad, {x}, y, sterna::PadAttrs{0, {}, 0.0f});
    for (int i = 0; i < resizes; ++i) b.Op(OpCode::kResizeQ8, {x}, y, sterna::ResizeAttrs{0, 1, 2, 1.0f, 1.0f, 0});
    return b.Build();
  };
  const auto code = [](const std::vector<uint8_t>& bytes) {
    std::unique_ptr<Engine> engine;
    sterna::LoadOptions options;
    options.memory_limit = 4u << 20;
    return Engine::Load(bytes.data(), bytes.size(), options, &engine).code;
  };
  EXPECT(code(program(1, 0)) == StatusCode::kOk);
  EXPECT(code(program(0, 1)) == StatusCode::kOk);
  EXPECT(code(program(100, 0)) == StatusCode::kLimitExceeded);
  EXPECT(code(program(0, 100)) == StatusCode::kLimitExceeded);
}

STERNA_TEST(limits_and_versions_have_their_own_status) {
  const std::vector<uint8_t> program = BuildNet(DType::kU8);
  std::unique_ptr<Engine> engine;
  sterna::LoadOptions options;
  options.memory_limit = 1000;
  EXPECT(Engine::Load(program.data(), program.size(), options, &engine).code == StatusCode::kLimitExceeded);
  options = {};
  options.threads = 0;
  EXPECT(Engine::Load(program.data(), program.size(), options, &engine).code == StatusCode::kInvalidArgument);
  options = {};
  options.isa = "no_such_isa";
  EXPECT(Engine::Load(program.data(), program.size(), options, &engine).code == StatusCode::kUnsupportedIsa);
  std::vector<uint8_t> other = program;
  other[4] = 99;
  EXPECT(Engine::Load(other.data(), other.size(), {}, &engine).code == StatusCode::kUnsupportedVersion);
  EXPECT(engine == nullptr);
}

}  // namespace sterna_test
