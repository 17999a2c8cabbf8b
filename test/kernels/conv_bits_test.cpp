// Convolutions on bit planes: ConvQ8 gives the bits of the 8-bit path, ConvQ8F32 those of its formula, whatever the geometry, packed weights
// and number of threads; what is not -1, 0 and 1 stays on 8 bits, or is refused.
#include "engine/engine.h"
#include "engine/pack_program.h"
#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::ConvGeometry;
using sterna::Engine;
using sterna::OpCode;
using sterna::Status;
using sterna::StatusCode;
using Bytes = std::vector<uint8_t>;

struct Layer {
  uint32_t n, h, w, c, o, kh, kw;
  ConvGeometry g;  // stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right, dilation_h, dilation_w, group
  uint32_t stride = 0;  // of pixels of codes and outputs, beyond their channels

  uint32_t OutputSide(uint32_t size, uint32_t kernel, int32_t stride, int32_t dilation, int32_t pads) const {
    return (size + static_cast<uint32_t>(pads) - static_cast<uint32_t>(dilation) * (kernel - 1) - 1) / static_cast<uint32_t>(stride) + 1;
  }
  uint32_t oh() const { return OutputSide(h, kh, g.stride_h, g.dilation_h, g.pad_top + g.pad_bottom); }
  uint32_t ow() const { return OutputSide(w, kw, g.stride_w, g.dilation_w, g.pad_left + g.pad_right); }
  uint32_t cg() const { return c / static_cast<uint32_t>(g.group); }
};

constexpr Layer kLayers[] = {
    {1, 9, 11, 64, 70, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}},        // the usual
    {1, 9, 11, 48, 37, 3, 3, {2, 2, 1, 1, 1, 1, 1, 1, 1}, 16},    // channels that end within a word, pixels apart
    {2, 7, 8, 32, 33, 3, 2, {1, 2, 2, 0, 1, 3, 1, 1, 1}},         // more padding on one side, two images
    {1, 13, 12, 56, 40, 3, 3, {1, 1, 2, 2, 2, 2, 2, 2, 1}, 8},    // dilated
    {1, 10, 10, 128, 64, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},      // 1x1
    {1, 11, 9, 96, 40, 1, 1, {2, 2, 0, 0, 0, 0, 1, 1, 1}},        // 1x1 with a stride
    {1, 8, 9, 96, 96, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 3}},         // groups
    {1, 24, 40, 32, 32, 5, 5, {1, 1, 2, 2, 2, 2, 1, 1, 1}},       // many blocks
    {1, 4, 5, 64, 34, 7, 7, {1, 1, 3, 3, 3, 3, 1, 1, 1}},         // a kernel larger than the image
    {3, 1, 1, 256, 100, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}},       // fully connected
    {1, 6, 6, 32, 36, 3, 3, {1, 1, 3, 3, 3, 3, 1, 1, 1}},         // pixels of padding alone
};

enum class Codes { kBinary, kTernary, kNeither };

int8_t Weight(Random& random, Codes codes) {
  const int32_t value = random.Int(-1, codes == Codes::kBinary ? 0 : 1);
  return static_cast<int8_t>(codes == Codes::kNeither ? value * 2 : codes == Codes::kBinary ? 2 * value + 1 : value);
}

// A threshold into codes, then a ConvQ8 with a residual or a table or neither, or a ConvQ8F32.
struct Net {
  Layer layer;
  DType type;
  int32_t zp;
  std::vector<int8_t> w;
  std::vector<float> scale, bias;
  ProgramBuilder b;
  uint32_t codes;

  Net(const Layer& l, DType activation, Codes x, Codes weights) : layer(l), type(activation), zp(Lowest(activation) + 100), b(activation) {
    Random random(7);
    const uint32_t floats = b.Input(DType::kF32, {l.n, l.h, l.w, l.c});
    codes = b.Tensor(type, {l.n, l.h, l.w, l.c}, l.c + l.stride);
    std::vector<float> lower(l.c), upper(l.c);
    for (size_t i = 0; i < l.c; ++i) lower[i] = random.Float(-0.3f, 0.3f), upper[i] = lower[i] + (x == Codes::kTernary ? 0.4f : 0.0f);
    b.Op(OpCode::kThreshold, {floats, b.Constant(DType::kF32, {l.c}, lower), b.Constant(DType::kF32, {l.c}, upper)}, codes, sterna::ThresholdAttrs{zp});
    w.resize(l.o * l.kh * l.kw * l.cg());
    for (int8_t& v : w) v = Weight(random, weights);
    for (uint32_t i = 0; i < l.o; ++i) scale.push_back(random.Float(0.1f, 0.8f)), bias.push_back(random.Float(-3.0f, 3.0f));
  }

  uint32_t Weights() { return b.Constant(DType::kS8, {layer.o, layer.kh, layer.kw, layer.cg()}, w); }
  uint32_t Scale() { return b.Constant(DType::kF32, {layer.o}, scale); }

  Bytes ConvQ8(int kind) {
    const uint32_t y = b.Output(type, {layer.n, layer.oh(), layer.ow(), layer.o}, layer.o + layer.stride);
    uint32_t residual = sterna::kAbsent, table = sterna::kAbsent;
    if (kind == 1) residual = b.Input(type, {layer.n, layer.oh(), layer.ow(), layer.o});
    if (kind == 2) {
      Bytes entries(256);
      for (size_t i = 0; i < 256; ++i) entries[i] = static_cast<uint8_t>(i * 37);
      table = b.Constant(type, {256}, entries);
    }
    const sterna::ConvQ8Attrs a{layer.g, zp, zp, zp - 60, zp + 60, zp, zp, zp - 90, zp + 90, 0.5f, 0.25f};
    const std::vector<int32_t> bias(layer.o, 3);
    b.Op(OpCode::kConvQ8, {codes, Weights(), b.Constant(DType::kS32, {layer.o}, bias), Scale(), sterna::kAbsent, table, residual}, y, a);
    return b.Build();
  }
  Bytes ConvQ8F32(bool with_bias) {
    const uint32_t y = b.Output(DType::kF32, {layer.n, layer.oh(), layer.ow(), layer.o}), seen = b.Output(type, {layer.n, layer.h, layer.w, layer.c});
    const uint32_t weights = Weights(), scales = Scale(), biases = with_bias ? b.Constant(DType::kF32, {layer.o}, bias) : sterna::kAbsent;
    b.Op(OpCode::kConvQ8F32, {codes, weights, scales, biases}, y, sterna::ConvQ8F32Attrs{layer.g, zp});
    const int32_t n = static_cast<int32_t>(layer.n), h = static_cast<int32_t>(layer.h), width = static_cast<int32_t>(layer.w), c = static_cast<int32_t>(layer.c);
    b.Op(OpCode::kCopy, {codes}, seen, sterna::CopyAttrs{{n, h, width, c, 0, 0}, {}, {1, 1, 1, 1, 0, 0}, {}, {1, 1, 1, 1, 0, 0}});
    return b.Build();
  }
};

struct Loaded {
  std::unique_ptr<Engine> engine;
  Status status;

  Loaded(const Bytes& program, const char* isa, int threads) {
    sterna::LoadOptions options;
    options.isa = isa, options.threads = threads;
    status = Engine::Load(program.data(), program.size(), options, &engine);
  }

  std::vector<Bytes> Run() {
    std::vector<Bytes> in, out;
    std::vector<const uint8_t*> inputs;
    std::vector<uint8_t*> outputs;
    Random random(3);
    for (size_t i = 0; i < engine->input_count(); ++i) {
      in.emplace_back(engine->InputBytes(i));
      for (size_t at = 0; at + 4 <= in[i].size(); at += 4) {
        const float value = random.Float(-1.0f, 1.0f);
        std::memcpy(in[i].data() + at, &value, 4);
      }
    }
    for (const Bytes& bytes : in) inputs.push_back(bytes.data());
    for (size_t i = 0; i < engine->output_count(); ++i) out.emplace_back(engine->OutputBytes(i));
    for (Bytes& bytes : out) outputs.push_back(bytes.data());
    const Status ran = engine->Run(inputs.data(), outputs.data());
    EXPECT_MSG(ran.ok(), ran.message);
    return out;
  }
};

std::vector<const char*> RunnableIsas() {
  std::vector<const char*> isas;
  for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
    if (isa.runnable) isas.push_back(isa.isa);
  }
  return isas;
}

std::string Describe(const Layer& l, const char* isa, Codes x, Codes w, int more) {
  return Format("%s, codes %d x %d, %ux%ux%ux%u -> %u, kernel %ux%u, group %d, %d", isa, static_cast<int>(x), static_cast<int>(w), l.n, l.h, l.w, l.c, l.o, l.kh, l.kw, l.g.group, more);
}

constexpr Codes kBoth[] = {Codes::kBinary, Codes::kTernary};

// sum (x - zp) * w by the definition, padding 0.
int32_t SumAt(const Layer& l, const Bytes& codes, const std::vector<int8_t>& w, int32_t zp, DType type, uint32_t n, uint32_t oy, uint32_t ox, uint32_t o) {
  int32_t sum = 0;
  const uint32_t first = o / (l.o / static_cast<uint32_t>(l.g.group)) * l.cg();
  for (uint32_t ky = 0; ky < l.kh; ++ky) {
    for (uint32_t kx = 0; kx < l.kw; ++kx) {
      const int32_t iy = static_cast<int32_t>(oy) * l.g.stride_h - l.g.pad_top + static_cast<int32_t>(ky) * l.g.dilation_h;
      const int32_t ix = static_cast<int32_t>(ox) * l.g.stride_w - l.g.pad_left + static_cast<int32_t>(kx) * l.g.dilation_w;
      if (iy < 0 || ix < 0 || iy >= static_cast<int32_t>(l.h) || ix >= static_cast<int32_t>(l.w)) continue;
      for (uint32_t c = 0; c < l.cg(); ++c) {
        const uint8_t byte = codes[((n * l.h + static_cast<uint32_t>(iy)) * l.w + static_cast<uint32_t>(ix)) * l.c + first + c];
        sum += ((type == DType::kU8 ? byte : static_cast<int8_t>(byte)) - zp) * w[((o * l.kh + ky) * l.kw + kx) * l.cg() + c];
      }
    }
  }
  return sum;
}

void ExpectFormula(const Net& net, bool with_bias, const std::vector<Bytes>& out, const std::string& what) {
  const Layer& l = net.layer;
  const float* y = reinterpret_cast<const float*>(out[0].data());
  for (uint32_t i = 0; i < l.n * l.oh() * l.ow() * l.o; ++i) {
    const uint32_t o = i % l.o, pixel = i / l.o;
    const int32_t sum = SumAt(l, out[1], net.w, net.zp, net.type, pixel / (l.oh() * l.ow()), pixel / l.ow() % l.oh(), pixel % l.ow(), o);
    float expected = static_cast<float>(sum) * net.scale[o];
    if (with_bias) expected += net.bias[o];
    if (y[i] == expected) continue;
    Fail(__FILE__, __LINE__, what + Format(": element %u is %g instead of %g", i, static_cast<double>(y[i]), static_cast<double>(expected)));
    return;
  }
}

// The layer ran on its family where that is faster, else on 8 bits.
void ExpectFamily(const Engine& engine, const char* isa, DType type, const char* family) {
  sterna::KernelSet set;
  EXPECT(sterna::SelectKernels(isa, type, &set).ok());
  const std::string expected = std::string(set.Wins(family) ? family : "gemm_q8") + "/", kernel = engine.kernel(1);
  EXPECT_MSG(kernel.compare(0, expected.size(), expected) == 0, std::string(isa) + " runs " + kernel + " instead of " + expected);
}

}  // namespace

STERNA_TEST(conv_q8_of_few_codes_gives_the_bits_of_8_bits) {
  for (DType type : {DType::kU8, DType::kS8}) {
    int turn = type == DType::kU8 ? 0 : 1;
    for (const Layer& layer : kLayers) {
      for (int codes = 0; codes < 4; ++codes, ++turn) {
        const Codes x = kBoth[codes / 2], w = kBoth[codes % 2];
        const Bytes program = Net(layer, type, x, w).ConvQ8(turn % 3);
        Loaded ref(program, "ref", 1);
        EXPECT_MSG(ref.status.ok(), ref.status.message);
        const std::vector<Bytes> expected = ref.Run();
        for (const char* isa : RunnableIsas()) {
          Loaded loaded(program, isa, 1 + turn % 2 * 2);
          EXPECT_MSG(loaded.status.ok(), loaded.status.message);
          if (!loaded.status.ok()) continue;
          EXPECT_MSG(loaded.Run() == expected, Describe(layer, isa, x, w, turn % 3) + ": other bits");
          ExpectFamily(*loaded.engine, isa, type, w == Codes::kTernary ? "gemm_tnn" : x == Codes::kTernary ? "gemm_tbn" : "gemm_bnn");
        }
      }
    }
  }
}

// Not on bits: on 8 bits, or in sums of 16.
bool MultipliesBytes(const char* kernel) {
  for (const char* family : {"gemm_q8/", "gemm_w46/", "gemm_u4u4/"}) {
    if (std::strncmp(kernel, family, std::strlen(family)) == 0) return true;
  }
  return false;
}

STERNA_TEST(conv_q8_of_other_codes_or_few_channels_multiplies_bytes) {
  const Layer few_inputs{1, 6, 6, 40, 64, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}}, few_outputs{1, 6, 6, 64, 24, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}};
  for (const char* isa : RunnableIsas()) {
    for (const Layer& layer : {few_inputs, few_outputs}) {
      const Loaded narrow(Net(layer, DType::kU8, Codes::kBinary, Codes::kBinary).ConvQ8(0), isa, 1);
      EXPECT(narrow.status.ok() && MultipliesBytes(narrow.engine->kernel(1)));
    }
    const Loaded other_weights(Net(kLayers[0], DType::kU8, Codes::kBinary, Codes::kNeither).ConvQ8(0), isa, 1);
    Net off(kLayers[0], DType::kU8, Codes::kBinary, Codes::kBinary);
    ++off.zp;
    const Loaded other_codes(off.ConvQ8(0), isa, 1);
    for (const Loaded* loaded : {&other_weights, &other_codes}) EXPECT(loaded->status.ok() && MultipliesBytes(loaded->engine->kernel(1)));
  }
}

STERNA_TEST(conv_q8_f32_computes_what_its_formula_says) {
  std::vector<Layer> layers(std::begin(kLayers), std::end(kLayers));
  layers.push_back({1, 5, 6, 3, 4, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 1}});    // much less than a word
  layers.push_back({1, 5, 6, 20, 20, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 20}});  // depthwise
  for (DType type : {DType::kU8, DType::kS8}) {
    for (const Layer& layer : layers) {
      for (int codes = 0; codes < 4; ++codes) {
        const Codes x = kBoth[codes / 2], w = kBoth[codes % 2];
        Net net(layer, type, x, w);
        const Bytes program = net.ConvQ8F32(codes % 3 != 0);
        std::vector<Bytes> first;
        for (const char* isa : RunnableIsas()) {
          Loaded loaded(program, isa, first.empty() ? 1 : 2);
          EXPECT_MSG(loaded.status.ok(), loaded.status.message);
          if (!loaded.status.ok()) continue;
          const std::vector<Bytes> out = loaded.Run();
          if (first.empty()) ExpectFormula(net, codes % 3 != 0, first = out, Describe(layer, isa, x, w, 0));
          EXPECT_MSG(out == first, Describe(layer, isa, x, w, 0) + ": other bits");
        }
      }
    }
  }
}

// Other codes and weights: the same formula, on bytes. Plain and packed, in panels by channel where there are few pixels for the threads.
STERNA_TEST(conv_q8_f32_multiplies_bytes) {
  std::vector<Layer> layers(std::begin(kLayers), std::end(kLayers));
  layers.push_back({2, 5, 6, 12, 40, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}});
  layers.push_back({1, 9, 7, 12, 21, 1, 1, {2, 2, 0, 0, 0, 0, 1, 1, 1}});
  layers.push_back({1, 1, 1, 70, 500, 1, 1, {1, 1, 0, 0, 0, 0, 1, 1, 1}});
  layers.push_back({1, 5, 6, 20, 20, 3, 3, {1, 1, 1, 1, 1, 1, 1, 1, 20}});  // depthwise
  for (DType type : {DType::kU8, DType::kS8}) {
    for (const Layer& layer : layers) {
      for (int turn = 0; turn < 2; ++turn) {
        Net net(layer, type, Codes::kTernary, turn == 0 ? Codes::kNeither : Codes::kTernary);
        if (turn == 1) ++net.zp;
        const Bytes program = net.ConvQ8F32(turn == 0);
        std::vector<Bytes> first;
        for (const char* isa : RunnableIsas()) {
          sterna::LoadOptions options;
          options.isa = isa, options.threads = 1;
          Bytes packed;
          EXPECT(PackProgram(program.data(), program.size(), options, &packed).ok());
          for (const Bytes* bytes : {&program, static_cast<const Bytes*>(&packed)}) {
            Loaded loaded(*bytes, isa, bytes == &packed || first.empty() ? 1 : 2);
            const std::string what = Describe(layer, isa, Codes::kTernary, Codes::kNeither, turn);
            EXPECT_MSG(loaded.status.ok(), what + loaded.status.message);
            if (!loaded.status.ok()) continue;
            EXPECT_MSG(MultipliesBytes(loaded.engine->kernel(1)), what + loaded.engine->kernel(1));
            const std::vector<Bytes> out = loaded.Run();
            if (first.empty()) ExpectFormula(net, turn == 0, first = out, what);
            EXPECT_MSG(out == first, what + ": other bits");
          }
        }
      }
    }
  }
}

STERNA_TEST(weights_packed_as_bits_give_the_same_bits) {
  int turn = 0;
  for (const Layer& layer : kLayers) {
    ++turn;
    for (int codes = 0; codes < 4; ++codes, ++turn) {
      const Codes x = kBoth[codes / 2], w = kBoth[codes % 2];
      const Bytes program = turn % 2 == 0 ? Net(layer, DType::kU8, x, w).ConvQ8(0) : Net(layer, DType::kU8, x, w).ConvQ8F32(true);
      for (const char* isa : RunnableIsas()) {
        sterna::LoadOptions options;
        options.isa = isa, options.threads = 1;
        Bytes packed;
        EXPECT(PackProgram(program.data(), program.size(), options, &packed).ok());
        Loaded plain(program, isa, 1), again(packed, isa, 1);
        EXPECT_MSG(again.status.ok(), again.status.message);
        if (again.status.ok()) EXPECT_MSG(again.Run() == plain.Run(), Describe(layer, isa, x, w, 0) + ": other bits");
      }
    }
  }
}

STERNA_TEST(threshold_gives_codes_by_comparison) {
  const float lower[3] = {0.0f, -1.0f, 0.5f}, upper[3] = {1e-45f, -1.0f, 0.5f}, nan = __builtin_nanf(""), infinity = __builtin_inff();
  const float x[5][3] = {{0.0f, -1.0f, 0.5f}, {-0.0f, -1.5f, 0.4f}, {1e-45f, 0.0f, 9.0f}, {-1e-45f, infinity, -infinity}, {nan, nan, nan}};
  const int expected[5][3] = {{0, 1, 1}, {0, -1, -1}, {1, 1, 1}, {-1, 1, -1}, {-1, -1, -1}};
  for (DType type : {DType::kU8, DType::kS8}) {
    ProgramBuilder b(type);
    const uint32_t in = b.Input(DType::kF32, {5, 3}, 4), y = b.Output(type, {5, 3}, 16);
    b.Op(OpCode::kThreshold, {in, b.Constant(DType::kF32, {3}, std::vector<float>(lower, lower + 3)), b.Constant(DType::kF32, {3}, std::vector<float>(upper, upper + 3))}, y, sterna::ThresholdAttrs{7});
    Loaded loaded(b.Build(), "ref", 1);
    EXPECT_MSG(loaded.status.ok(), loaded.status.message);
    if (!loaded.status.ok()) continue;
    Bytes out(15);
    const uint8_t* inputs[] = {reinterpret_cast<const uint8_t*>(&x[0][0])};
    uint8_t* outputs[] = {out.data()};
    EXPECT(loaded.engine->Run(inputs, outputs).ok());
    for (int i = 0; i < 15; ++i) EXPECT_MSG(out[static_cast<size_t>(i)] == 7 + expected[i / 3][i % 3], Format("element %d is %d", i, out[static_cast<size_t>(i)]));
  }
}

STERNA_TEST(conv_q8_f32_and_threshold_refuse_what_they_cannot_compute) {
  const auto refused = [](const Bytes& program, StatusCode code, const char* what) {
    for (const char* isa : {"ref", static_cast<const char*>(nullptr)}) {
      Loaded loaded(program, isa, 1);
      EXPECT_MSG(loaded.status.code == code && loaded.status.op >= 0, Format("%s: code %d, %s", what, static_cast<int>(loaded.status.code), loaded.status.message));
    }
  };
  Net off(kLayers[0], DType::kU8, Codes::kTernary, Codes::kTernary);
  off.zp = 256;
  refused(off.ConvQ8F32(true), StatusCode::kUnsupportedOp, "a zero-point beyond the codes");
  const auto threshold = [&](float lower, float upper, int32_t zp, size_t numbers) {
    ProgramBuilder b(DType::kU8);
    const uint32_t x = b.Input(DType::kF32, {5, 3}), y = b.Output(DType::kU8, {5, 3}), n = static_cast<uint32_t>(numbers);
    b.Op(OpCode::kThreshold, {x, b.Constant(DType::kF32, {n}, std::vector<float>(numbers, lower)), b.Constant(DType::kF32, {1}, std::vector<float>{upper})}, y, sterna::ThresholdAttrs{zp});
    return b.Build();
  };
  EXPECT(Loaded(threshold(0, 0, 1, 3), "ref", 1).status.ok() && Loaded(threshold(0, 1, 254, 1), "ref", 1).status.ok());
  refused(threshold(0, 0, 0, 1), StatusCode::kUnsupportedOp, "code -1");
  refused(threshold(0, 0, 255, 1), StatusCode::kUnsupportedOp, "code 256");
  refused(threshold(1, 0, 9, 1), StatusCode::kUnsupportedOp, "thresholds the wrong way round");
  refused(threshold(__builtin_nanf(""), 0, 9, 1), StatusCode::kUnsupportedOp, "no number");
  refused(threshold(0, 0, 9, 2), StatusCode::kShapeMismatch, "two numbers for three channels");
}

}  // namespace sterna_test
