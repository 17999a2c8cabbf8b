// Incremental runs: parts of ops give the bits of whole ones, cells are computed from what the inputs hold, and all others stay as they are.
#include "engine/regions.h"

#include "engine/engine.h"
#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::ConvGeometry, sterna::ConvQ8Attrs, sterna::ConvQ8F32Attrs, sterna::OpCode, sterna::UnaryKind, sterna::kAbsent, sterna::kNoRegion;
using sterna::ActiveCells, sterna::Engine, sterna::LoadOptions, sterna::Status, sterna::StatusCode;
using Bytes = std::vector<uint8_t>;

struct Layer {
  uint32_t channels, kernel, stride;
  bool depthwise, residual, prelu;  // residual: of the layer before
  uint32_t dilation = 1;
  int32_t pad = -1;     // on each side; -1: the map keeps its size but for the stride
  bool floats = false;  // of bytes: the map is float, the last of a chain
};

struct Chain {
  uint32_t h, w, c;
  std::vector<Layer> layers;
};

std::vector<Chain> Chains() {
  return {
      {23, 31, 3, {{32, 3, 2, false, false, false}, {32, 3, 1, true, false, false}, {16, 1, 1, false, false, false}, {96, 1, 1, false, false, false}, {96, 3, 2, true, false, true}, {24, 1, 1, false, false, false}, {24, 1, 1, false, true, false}}},
      {17, 40, 20, {{40, 1, 1, false, false, true}, {40, 5, 1, true, false, false}, {40, 3, 1, false, true, false}, {12, 1, 2, false, false, false}}},
      {13, 22, 24, {{20, 3, 1, false, false, false}, {18, 1, 1, false, false, false, 1, -1, true}}},
      {15, 18, 16, {{32, 1, 1, false, false, false}, {21, 3, 1, false, false, false, 1, -1, true}}},
      {19, 21, 16, {{48, 3, 1, false, false, false, 2}, {48, 2, 1, true, false, false, 1, 3}, {48, 3, 2, true, true, false, 1, 1}}},
  };
}

uint32_t OutputSide(uint32_t side, const Layer& l, int32_t pad) { return (side + 2 * static_cast<uint32_t>(pad) - (l.kernel - 1) * l.dilation - 1) / l.stride + 1; }

// A chain of convolutions of which each map is an output. `first`, `count`: only these layers, the first of which reads an input.
class Net {
 public:
  Net(DType type, const Chain& chain, size_t first, size_t count, uint64_t seed) : b(type == DType::kF32 ? DType::kU8 : type), type_(type) {
    uint32_t h = chain.h, w = chain.w, c = chain.c, x = kAbsent;
    for (size_t i = 0; i < first + count; ++i) {
      const Layer& l = chain.layers[i];
      const int32_t pad = l.pad >= 0 ? l.pad : static_cast<int32_t>((l.kernel - 1) * l.dilation / 2);
      const uint32_t oh = OutputSide(h, l, pad), ow = OutputSide(w, l, pad);
      if (i >= first) {
        if (x == kAbsent) x = b.Input(type_, {1, h, w, c}, Stride(c));
        // Of the layer before: in a program of one layer it is an input of its own.
        const bool adds = l.residual && oh == h && ow == w && l.channels == c;
        const uint32_t group = l.depthwise ? c : 1, y = b.Output(l.floats ? DType::kF32 : type_, {1, oh, ow, l.channels}, Stride(l.channels));
        const int32_t step = static_cast<int32_t>(l.stride), dilation = static_cast<int32_t>(l.dilation);
        Random random(seed + i);
        Add(l, {step, step, pad, pad, pad, pad, dilation, dilation, static_cast<int32_t>(group)}, c / group, x, adds ? x : kAbsent, y, &random);
        x = y;
        sides.push_back({oh, ow});
      }
      h = oh, w = ow, c = l.channels;
    }
  }

  struct Side {
    uint32_t h, w;
  };
  ProgramBuilder b;
  std::vector<Side> sides;  // of the maps

 private:
  uint32_t Stride(uint32_t channels) const { return type_ == DType::kF32 ? channels + 3 : (channels + 15) / 16 * 16; }

  void Add(const Layer& l, const ConvGeometry& g, uint32_t depth, uint32_t x, uint32_t residual, uint32_t y, Random* random) {
    const uint32_t taps = l.kernel * l.kernel * depth;
    if (type_ == DType::kF32) {
      std::vector<float> w(l.channels * taps), bias(l.channels);
      for (float& v : w) v = random->Float(-0.2f, 0.2f);
      for (float& v : bias) v = random->Float(-0.5f, 0.5f);
      const int32_t unary = static_cast<int32_t>(l.prelu ? UnaryKind::kSigmoid : UnaryKind::kRelu);  // a sigmoid is applied after the kernel, then the residual
      const uint32_t weights = b.Constant(DType::kF32, {l.channels, l.kernel, l.kernel, depth}, w), biases = b.Constant(DType::kF32, {l.channels}, bias);
      b.Op(OpCode::kConvF32, {x, weights, biases, kAbsent, residual}, y, sterna::ConvF32Attrs{g, unary, 0, 0, 0});
      return;
    }
    std::vector<int8_t> w(l.channels * taps);
    for (int8_t& v : w) v = static_cast<int8_t>(random->Int(-127, 127));
    if (l.floats) {
      std::vector<float> numbers(2 * l.channels);
      for (float& v : numbers) v = random->Float(0.01f, 0.03f);
      const uint32_t scales = b.Constant(DType::kF32, {l.channels}, std::vector<float>(numbers.begin(), numbers.begin() + l.channels));
      const uint32_t biases = b.Constant(DType::kF32, {l.channels}, std::vector<float>(numbers.begin() + l.channels, numbers.end()));
      b.Op(OpCode::kConvQ8F32, {x, b.Constant(DType::kS8, {l.channels, l.kernel, l.kernel, depth}, w), scales, biases}, y, ConvQ8F32Attrs{g, Lowest(type_) + 128});
      return;
    }
    std::vector<int32_t> bias(l.channels);
    for (int32_t& v : bias) v = random->Int(-3000, 3000);
    const std::vector<float> scale(l.channels, 0.05f / static_cast<float>(taps)), negative(l.channels, -0.02f / static_cast<float>(taps));
    const int32_t lo = Lowest(type_);
    const ConvQ8Attrs a{g, lo + 14, lo + 127, lo, lo + 255, lo + 128, lo + 128, lo, lo + 255, 0.6f, 0.7f};
    const uint32_t weights = b.Constant(DType::kS8, {l.channels, l.kernel, l.kernel, depth}, w), biases = b.Constant(DType::kS32, {l.channels}, bias);
    const uint32_t scales = b.Constant(DType::kF32, {l.channels}, scale), negatives = b.Constant(DType::kF32, {l.channels}, negative);
    b.Op(OpCode::kConvQ8, {x, weights, biases, scales, l.prelu ? negatives : kAbsent, kAbsent, residual}, y, a);
  }

  DType type_;
};

// Each map is a level of its own, without rings.
std::vector<uint32_t> TableOf(const std::vector<Net::Side>& sides) {
  const uint32_t n = static_cast<uint32_t>(sides.size());
  std::vector<uint32_t> words{sterna::kRegionsVersion, n, n, n, n};
  for (const Net::Side& side : sides) words.insert(words.end(), {side.h, side.w, 0, 0});
  for (uint32_t i = 0; i < n; ++i) words.insert(words.end(), {1, i, 1, 0});
  for (int uses = 0; uses < 2; ++uses) for (uint32_t i = 0; i < n; ++i) words.push_back(i);
  return words;
}

LoadOptions OptionsFor(const char* isa, int threads, const std::vector<uint32_t>* table = nullptr) {
  static sterna::CoreBudget budget(64);
  LoadOptions options;
  options.isa = isa;
  options.threads = threads;
  options.budget = &budget;
  if (table != nullptr) options.regions = table->data(), options.region_words = table->size();
  return options;
}

std::unique_ptr<Engine> Load(const Bytes& program, const LoadOptions& options) {
  std::unique_ptr<Engine> engine;
  const Status status = Engine::Load(program.data(), program.size(), options, &engine);
  EXPECT_MSG(status.ok(), Format("%s: %s (op %d)", options.isa, status.message, status.op));
  return engine;
}

Bytes RandomMap(DType type, uint64_t bytes, uint64_t seed) {
  Bytes map(bytes);
  Random random(seed);
  if (type == DType::kF32) for (size_t i = 0; i < map.size() / 4; ++i) reinterpret_cast<float*>(map.data())[i] = random.Float(-1, 1);
  else for (uint8_t& v : map) v = static_cast<uint8_t>(random.Next());
  return map;
}

using Maps = std::vector<Bytes>;

// A run of those ops; `active` null: of everything.
void Run(Engine& engine, const Bytes& input, const ActiveCells* active, bool kept, Maps* maps, const Engine::OpRange& range = Engine::OpRange()) {
  maps->resize(engine.output_count());
  std::vector<uint8_t*> outputs;
  for (size_t i = 0; i < maps->size(); ++i) (*maps)[i].resize(engine.OutputBytes(i)), outputs.push_back((*maps)[i].data());
  const uint8_t* inputs[] = {input.data()};
  const Status status = active == nullptr ? engine.Run(inputs, outputs.data(), nullptr, range) : engine.RunPart(inputs, outputs.data(), {*active, kept, range});
  EXPECT_MSG(status.ok(), status.message);
}

// Whether a cell of a map has an active cell of the picture's grid under it.
bool IsActive(const Net::Side& side, const ActiveCells& active, int64_t y, int64_t x) {
  for (int64_t r = 0; r < active.rows; ++r) {
    for (int64_t c = 0; c < active.columns; ++c) {
      const bool over = r * side.h < (y + 1) * active.rows && (r + 1) * side.h > y * active.rows && c * side.w < (x + 1) * active.columns && (c + 1) * side.w > x * active.columns;
      if (over && active.cells[r * active.columns + c] != 0) return true;
    }
  }
  return false;
}

// After a run of `active` on maps that held `before`: each cell is what its layer makes of the kept inputs, or what it was. Of those layers only.
void ExpectParts(DType type, const Chain& chain, const char* isa, const Bytes& input, const ActiveCells& active, const Maps& before, const Maps& after, const Engine::OpRange& layers = Engine::OpRange()) {
  for (size_t layer = layers.first; layer < std::min(layers.end, chain.layers.size()); ++layer) {
    Net alone(type, chain, layer, 1, 3);
    const std::unique_ptr<Engine> engine = Load(alone.b.Build(), OptionsFor(isa, 1));
    if (engine == nullptr) return;
    Maps whole;
    Run(*engine, layer == 0 ? input : after[layer - 1], nullptr, false, &whole);
    const Net::Side& side = alone.sides[0];
    const size_t pixel = whole[0].size() / (side.h * side.w);
    size_t wrong = 0;
    for (uint32_t y = 0; y < side.h; ++y) {
      for (uint32_t x = 0; x < side.w; ++x) {
        const size_t at = (y * side.w + x) * pixel;
        const Bytes& expected = IsActive(side, active, y, x) ? whole[0] : before[layer];
        wrong += std::memcmp(after[layer].data() + at, expected.data() + at, pixel) != 0 ? 1 : 0;
      }
    }
    EXPECT_MSG(wrong == 0, Format("%s, type %d, layer %zu: %zu cells", isa, static_cast<int>(type), layer, wrong));
  }
}

bool HasKernels(const char* isa, DType type) {
  if (type == DType::kF32) return true;
  if (std::strcmp(isa, "ref") == 0) return type == DType::kU8;
  return (type == DType::kS8) == (std::strncmp(isa, "neon", 4) == 0);
}

void CheckChain(DType type, const Chain& chain, const char* isa, int threads) {
  Net net(type, chain, 0, chain.layers.size(), 3);
  const std::vector<uint32_t> table = TableOf(net.sides);
  const Bytes program = net.b.Build();
  const std::unique_ptr<Engine> plain = Load(program, OptionsFor(isa, threads)), engine = Load(program, OptionsFor(isa, threads, &table));
  if (plain == nullptr || engine == nullptr) return;
  for (size_t op = 0; op < engine->op_count(); ++op) EXPECT_MSG(engine->in_parts(op), Format("op %zu on %s", op, isa));
  const Bytes first = RandomMap(type, engine->InputBytes(0), 5), second = RandomMap(type, engine->InputBytes(0), 6);
  Maps expected, maps;
  Run(*plain, first, nullptr, false, &expected);
  Random random(9);
  Bytes cells(5 * 7, 1);
  const ActiveCells active{cells.data(), 5, 7};
  Run(*engine, first, &active, false, &maps);  // nothing is kept: everything is computed
  EXPECT(maps == expected && engine->share() == 1);
  for (int share : {10, 40, 80}) {
    for (uint8_t& cell : cells) cell = random.Int(1, 100) <= share ? 1 : 0;
    Run(*engine, first, &active, true, &maps);
    EXPECT_MSG(maps == expected, Format("%s: parts of the same picture, %d %%", isa, share));
  }
  const Maps before = maps;
  Run(*engine, second, &active, true, &maps);
  EXPECT(engine->share() < 1);
  ExpectParts(type, chain, isa, second, active, before, maps);
  std::fill(cells.begin(), cells.end(), uint8_t{0});
  const Maps kept = maps;
  Run(*engine, first, &active, false, &maps);
  EXPECT_MSG(maps == kept && engine->share() == 0, "no active cell: everything stays");
  std::fill(cells.begin(), cells.end(), uint8_t{1});
  Run(*engine, first, &active, true, &maps);
  EXPECT_MSG(maps == expected && engine->share() == 1, "every cell is active");
  engine->Drop();
  cells[0] = 0;
  Run(*engine, first, &active, true, &maps);
  EXPECT_MSG(maps == expected && engine->share() == 1, "dropped maps are computed anew");
}

// A program that stops half-way: the ops behind the cut keep what they have until a run goes on with all cells that they missed.
void CheckStops(DType type, const Chain& chain, const char* isa, int threads) {
  Net net(type, chain, 0, chain.layers.size(), 3);
  const std::vector<uint32_t> table = TableOf(net.sides);
  const Bytes program = net.b.Build();
  for (size_t cut = 1; cut < chain.layers.size(); ++cut) {
    const std::unique_ptr<Engine> engine = Load(program, OptionsFor(isa, threads, &table));
    if (engine == nullptr) return;
    const Engine::OpRange prefix{0, cut}, suffix{cut, SIZE_MAX};
    Random random(11 + cut);
    Bytes cells(5 * 7, 0), missed(5 * 7, 0);
    const ActiveCells active{cells.data(), 5, 7}, all{missed.data(), 5, 7};
    const Bytes first = RandomMap(type, engine->InputBytes(0), 5), second = RandomMap(type, engine->InputBytes(0), 6);
    Maps before, after;
    Run(*engine, first, &active, false, &before, prefix);  // nothing is kept: the prefix is computed as a whole, and later the suffix
    EXPECT(engine->share() > 0 && engine->share() < 1);
    Run(*engine, first, &active, false, &before, suffix);
    Maps whole;
    const std::unique_ptr<Engine> plain = Load(program, OptionsFor(isa, threads));
    if (plain == nullptr) return;
    Run(*plain, first, nullptr, false, &whole);
    EXPECT_MSG(before == whole, Format("%s, cut %zu: a run in two parts", isa, cut));
    Maps stopped = before;
    for (int stop = 0; stop < 3; ++stop) {
      const Bytes& input = stop == 1 ? first : second;
      for (size_t i = 0; i < cells.size(); ++i) cells[i] = random.Int(1, 100) <= 25 ? 1 : 0, missed[i] |= cells[i];
      Run(*engine, input, &active, false, &after, prefix);
      ExpectParts(type, chain, isa, input, active, stopped, after, prefix);
      EXPECT_MSG(std::equal(after.begin() + static_cast<ptrdiff_t>(cut), after.end(), before.begin() + static_cast<ptrdiff_t>(cut)), Format("%s, cut %zu: maps behind it", isa, cut));
      stopped = after;
    }
    Run(*engine, second, &all, true, &after, suffix);
    ExpectParts(type, chain, isa, second, all, stopped, after, suffix);
    // A whole run after a prefix that was never gone on with: what is named is computed, all the same.
    Run(*engine, first, &active, false, &stopped, prefix);
    std::fill(cells.begin(), cells.end(), uint8_t{1});
    Run(*engine, first, &active, true, &after);
    EXPECT_MSG(after == whole, Format("%s, cut %zu: every cell", isa, cut));
  }
}

}  // namespace

STERNA_TEST(regions_parts_that_stop_half_way) {
  for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
    for (DType type : {DType::kU8, DType::kS8, DType::kF32}) {
      if (!isa.runnable || !HasKernels(isa.isa, type)) continue;
      for (const Chain& chain : Chains()) CheckStops(type, chain, isa.isa, 1 + static_cast<int>(chain.layers.size() % 2));
    }
  }
}

STERNA_TEST(regions_parts_of_convolutions) {
  for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
    for (DType type : {DType::kU8, DType::kS8, DType::kF32}) {
      if (!isa.runnable || !HasKernels(isa.isa, type)) continue;
      for (const Chain& chain : Chains()) {
        for (int threads : {1, 2}) CheckChain(type, chain, isa.isa, threads);
      }
    }
  }
}

STERNA_TEST(regions_levels) {
  // A picture of 4 x 4 cells, of which one is active, on levels of 8 x 8, 4 x 4 with a ring, 3 x 3 and 2 x 2 in full.
  Net net(DType::kF32, {8, 8, 4, {{4, 1, 1, false, false, false}, {4, 1, 1, false, false, false}}}, 0, 2, 3);
  const std::vector<uint32_t> words{sterna::kRegionsVersion, 4, 4, 2, 2, 8, 8, 0, 0, 4, 4, 1, 0, 3, 3, 0, 0, 2, 2, 0, 1,
                                    1, 0, 1, 0, 1, 1, 4, 0, 2, 2, 2, 0, 3, 1, 18, 1, 3, 1, 0, 0, 1, 2, 3};
  const Bytes bytes = net.b.Build();
  sterna::Program program;
  EXPECT(sterna::ParseProgram(bytes.data(), bytes.size(), 1 << 30, &program).ok());
  sterna::Memory memory(1 << 30);
  std::unique_ptr<sterna::Regions> regions;
  const Status status = sterna::Regions::Parse(words.data(), words.size(), program, &memory, &regions);
  EXPECT_MSG(status.ok(), status.message);
  if (!status.ok()) return;
  Bytes cells(16, 0);
  cells[4 * 3 + 1] = 1;  // row 3, column 1
  EXPECT(regions->Update({cells.data(), 4, 4}));
  const auto text = [](const sterna::SpanList& list) {
    std::string all;
    for (const sterna::Span& span : list.spans()) all += Format("%d+%d ", static_cast<int>(span.first), static_cast<int>(span.count));
    return all;
  };
  EXPECT(text(*regions->op(0)) == "50+2 58+2 ");
  EXPECT(text(*regions->op(1)) == "32+12 48+12 ");   // 4 pixels a cell: cells 8..10 and 12..14
  EXPECT(text(*regions->output(0)) == "12+4 18+4 ");  // cells 6 and 7 of 3 x 3, 2 pixels each; then all of 2 x 2
  EXPECT(text(*regions->output(1)) == "0+4 ");
  EXPECT(regions->op(1)->pixels() == 24);
  cells.assign(16, 0);
  EXPECT(!regions->Update({cells.data(), 4, 4}));
  EXPECT(regions->output(1)->pixels() == 0);
}

STERNA_TEST(regions_refuses_bad_tables) {
  Net net(DType::kF32, {8, 8, 4, {{4, 1, 1, false, false, false}}}, 0, 1, 3);
  const std::vector<uint32_t> good = TableOf(net.sides);
  const Bytes program = net.b.Build();
  EXPECT(Load(program, OptionsFor("ref", 1, &good)) != nullptr);
  for (size_t i = 0; i < good.size(); ++i) {
    std::unique_ptr<Engine> engine;
    LoadOptions options = OptionsFor("ref", 1, &good);
    options.region_words = i;
    EXPECT_MSG(Engine::Load(program.data(), program.size(), options, &engine).code == StatusCode::kMalformedProgram, Format("%zu words", i));
  }
  struct Case {
    size_t word;
    uint32_t value;
  };
  // Version, counts, a level without rows, a ring too wide, a piece of no level, of no pixels, beyond its tensor, an op of no region.
  for (const Case& c : {Case{0, 9}, Case{1, 100}, Case{3, 2}, Case{4, 2}, Case{5, 0}, Case{7, 1000}, Case{10, 7}, Case{11, 0}, Case{11, 2}, Case{12, 1}, Case{13, 5}}) {
    std::vector<uint32_t> bad = good;
    bad[c.word] = c.value;
    std::unique_ptr<Engine> engine;
    const LoadOptions options = OptionsFor("ref", 1, &bad);
    EXPECT_MSG(!Engine::Load(program.data(), program.size(), options, &engine).ok(), Format("word %zu: %u", c.word, c.value));
  }
  std::vector<uint32_t> longer = good;
  longer.push_back(0);
  std::unique_ptr<Engine> engine;
  EXPECT(Engine::Load(program.data(), program.size(), OptionsFor("ref", 1, &longer), &engine).code == StatusCode::kMalformedProgram);
}

STERNA_TEST(regions_need_a_table_to_run_in_part) {
  Net net(DType::kF32, {8, 8, 4, {{4, 1, 1, false, false, false}}}, 0, 1, 3);
  const std::unique_ptr<Engine> engine = Load(net.b.Build(), OptionsFor("ref", 1));
  const uint8_t cell = 1;
  const uint8_t* inputs[] = {nullptr};
  uint8_t* outputs[] = {nullptr};
  EXPECT(engine != nullptr && engine->RunPart(inputs, outputs, {{&cell, 1, 1}, false}).code == StatusCode::kInvalidArgument);
}
}  // namespace sterna_test
