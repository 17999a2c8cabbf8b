// Which bytes the engine believes that a tensor can hold (engine/value_sets.h): never fewer than its ops write.
#include "engine/value_sets.h"

#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::ByteSet;
using sterna::ConvQ8Attrs;
using sterna::kAbsent;
using sterna::OpCode;

std::vector<ByteSet> Follow(const ProgramBuilder& builder) {
  const std::vector<uint8_t> bytes = builder.Build();
  std::vector<uint64_t> aligned((bytes.size() + 7) / 8);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  sterna::Program program;
  const sterna::Status status = sterna::ParseProgram(reinterpret_cast<const uint8_t*>(aligned.data()), bytes.size(), 1u << 20, &program);
  EXPECT_MSG(status.ok(), status.message);
  return status.ok() ? FollowValues(program) : std::vector<ByteSet>();
}

// A set is these values of the activation type and nothing else.
void ExpectValues(const ByteSet& set, std::initializer_list<int32_t> values, const char* what) {
  EXPECT_MSG(set.count() == values.size(), Format("%s: %zu values instead of %zu", what, set.count(), values.size()));
  for (int32_t value : values) EXPECT_MSG(set.Has(value), Format("%s: lacks %d", what, value));
}

// A program of one image of 2 x 2 pixels and 4 channels, for ops to be added to.
struct Net {
  explicit Net(DType activation) : b(activation), type(activation), x(b.Input(activation, {1, 2, 2, 4})), lo(Lowest(activation)) {}

  uint32_t Map() { return b.Tensor(type, {1, 2, 2, 4}); }

  // 1x1, results of [lo + 3, lo + 5], and of [lo + 8, lo + 9] after a residual.
  uint32_t Conv(uint32_t from, uint32_t table = kAbsent, uint32_t residual = kAbsent) {
    const uint32_t y = Map(), w = b.Constant(DType::kS8, {4, 1, 1, 4}, std::vector<int8_t>(16, 1)), scale = b.Constant(DType::kF32, {4}, std::vector<float>(4, 1.0f));
    const ConvQ8Attrs attrs{{1, 1, 0, 0, 0, 0, 1, 1, 1}, lo, lo + 3, lo + 3, lo + 5, lo, lo, lo + 8, lo + 9, 1.0f, 1.0f};
    b.Op(OpCode::kConvQ8, {from, w, kAbsent, scale, kAbsent, table, residual}, y, attrs);
    return y;
  }
  // Entries lo + 1, lo + 7, lo + 1, ...
  uint32_t Table() {
    std::vector<uint8_t> entries(256);
    for (size_t i = 0; i < 256; ++i) entries[i] = static_cast<uint8_t>(lo + (i % 2 == 0 ? 1 : 7));
    return b.Constant(type, {256}, entries);
  }

  ProgramBuilder b;
  DType type;
  uint32_t x;
  int32_t lo;
};

template <typename Test>
void ForBothTypes(Test test) {
  for (DType type : {DType::kU8, DType::kS8}) test(type);
}

}  // namespace

STERNA_TEST(values_of_a_convolution_are_those_of_its_last_step) {
  ForBothTypes([](DType type) {
    Net net(type);
    const uint32_t plain = net.Conv(net.x), table = net.Conv(net.x, net.Table()), residual = net.Conv(net.x, kAbsent, plain), both = net.Conv(net.x, net.Table(), plain);
    const std::vector<ByteSet> sets = Follow(net.b);
    const int32_t lo = net.lo;
    EXPECT(sets[net.x].count() == 256);
    ExpectValues(sets[plain], {lo + 3, lo + 4, lo + 5}, "clamped");
    ExpectValues(sets[table], {lo + 1, lo + 7}, "through a table");
    ExpectValues(sets[residual], {lo + 8, lo + 9}, "after a residual");
    ExpectValues(sets[both], {lo + 8, lo + 9}, "after a table and a residual");
    EXPECT(sets[plain].Lowest(type) == lo + 3 && sets[plain].Highest(type) == lo + 5);
  });
}

STERNA_TEST(values_of_tables_sums_and_pools_are_followed) {
  ForBothTypes([](DType type) {
    Net net(type);
    const int32_t lo = net.lo;
    const uint32_t from = net.Conv(net.x, net.Table()), lut = net.Map(), sum = net.Map(), largest = net.Map(), average = net.Map(), resized = net.Map();
    net.b.Op(OpCode::kLutQ8, {net.x, net.Table()}, lut);
    net.b.Op(OpCode::kBinaryQ8, {from, lut}, sum, sterna::BinaryQ8Attrs{0, lo, lo, lo, lo + 10, lo + 12, 1.0f, 1.0f});
    net.b.Op(OpCode::kPoolQ8, {from}, largest, sterna::PoolAttrs{0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, lo, lo, lo, lo + 255, 1.0f});
    net.b.Op(OpCode::kPoolQ8, {from}, average, sterna::PoolAttrs{1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, lo, lo, lo + 20, lo + 21, 1.0f});
    net.b.Op(OpCode::kResizeQ8, {from}, resized, sterna::ResizeAttrs{1, 0, 0, 1.0f, 1.0f, lo});
    const std::vector<ByteSet> sets = Follow(net.b);
    ExpectValues(sets[lut], {lo + 1, lo + 7}, "table");
    ExpectValues(sets[sum], {lo + 10, lo + 11, lo + 12}, "sum");
    ExpectValues(sets[largest], {lo + 1, lo + 7}, "max");
    ExpectValues(sets[average], {lo + 20, lo + 21}, "average");
    ExpectValues(sets[resized], {lo + 1, lo + 2, lo + 3, lo + 4, lo + 5, lo + 6, lo + 7}, "resized: whatever lies between");
  });
}

STERNA_TEST(values_of_all_writers_of_a_tensor_add_up) {
  ForBothTypes([](DType type) {
    Net net(type);
    const uint32_t clamped = net.Conv(net.x), joined = net.b.Tensor(type, {1, 2, 2, 8}), turned = net.b.Tensor(type, {1, 2, 2, 8});
    const auto copy = [&](uint32_t from, int32_t at) {
      net.b.Op(OpCode::kCopy, {from}, joined, sterna::CopyAttrs{{1, 2, 2, 4, 0, 0}, {}, {1, 1, 1, 1, 0, 0}, {0, 0, 0, at, 0, 0}, {1, 1, 1, 1, 0, 0}});
    };
    copy(clamped, 0), copy(net.Conv(net.x, net.Table()), 4);
    net.b.Op(OpCode::kTranspose, {joined}, turned, sterna::TransposeAttrs{{0, 2, 1, 3, 0, 0}});
    const std::vector<ByteSet> sets = Follow(net.b);
    const int32_t lo = net.lo;
    ExpectValues(sets[joined], {lo + 1, lo + 3, lo + 4, lo + 5, lo + 7}, "joined");
    ExpectValues(sets[turned], {lo + 1, lo + 3, lo + 4, lo + 5, lo + 7}, "transposed");
  });
}

STERNA_TEST(values_of_a_threshold_are_two_where_nothing_lies_between) {
  ForBothTypes([](DType type) {
    Net net(type);
    const uint32_t floats = net.b.Input(DType::kF32, {1, 2, 2, 4}), one = net.b.Constant(DType::kF32, {1}, std::vector<float>{0.5f});
    const uint32_t same = net.b.Constant(DType::kF32, {4}, std::vector<float>(4, 0.5f)), above = net.b.Constant(DType::kF32, {4}, std::vector<float>{0.5f, 0.5f, 0.5f, 0.6f});
    const uint32_t binary = net.Map(), spread = net.Map(), ternary = net.Map(), outside = net.Map();
    net.b.Op(OpCode::kThreshold, {floats, same, same}, binary, sterna::ThresholdAttrs{net.lo + 1});
    net.b.Op(OpCode::kThreshold, {floats, one, same}, spread, sterna::ThresholdAttrs{net.lo + 254});
    net.b.Op(OpCode::kThreshold, {floats, one, above}, ternary, sterna::ThresholdAttrs{net.lo + 9});
    net.b.Op(OpCode::kThreshold, {floats, one, one}, outside, sterna::ThresholdAttrs{net.lo});
    const std::vector<ByteSet> sets = Follow(net.b);
    ExpectValues(sets[binary], {net.lo, net.lo + 2}, "binary");
    ExpectValues(sets[spread], {net.lo + 253, net.lo + 255}, "one number against one for each channel");
    ExpectValues(sets[ternary], {net.lo + 8, net.lo + 9, net.lo + 10}, "ternary");
    EXPECT(sets[outside].count() == 256);
  });
}

STERNA_TEST(values_that_nothing_followed_has_written_can_be_anything) {
  ForBothTypes([](DType type) {
    Net net(type);
    const uint32_t unwritten = net.Map(), copied = net.Map(), quantized = net.Map(), constant = net.b.Constant(type, {1, 2, 2, 4}, std::vector<uint8_t>(16, 3)), unread = net.Map();
    const uint32_t floats = net.b.Input(DType::kF32, {1, 2, 2, 4}), of_constant = net.Map();
    const sterna::CopyAttrs whole{{1, 2, 2, 4, 0, 0}, {}, {1, 1, 1, 1, 0, 0}, {}, {1, 1, 1, 1, 0, 0}};
    net.b.Op(OpCode::kCopy, {unwritten}, copied, whole);
    net.b.Op(OpCode::kCopy, {constant}, of_constant, whole);
    net.b.Op(OpCode::kQuantize, {floats}, quantized, sterna::QuantizeAttrs{1.0f, net.lo});
    const std::vector<ByteSet> sets = Follow(net.b);
    for (uint32_t id : {copied, quantized, of_constant}) EXPECT(sets[id].count() == 256);
    EXPECT(sets[unread].empty());
  });
}

// The parser has not checked attributes: what the drivers will refuse must not be believed.
STERNA_TEST(values_of_attributes_outside_the_type_are_not_believed) {
  ForBothTypes([](DType type) {
    Net net(type);
    const uint32_t sum = net.Map(), short_attrs = net.Map();
    net.b.Op(OpCode::kBinaryQ8, {net.x, net.x}, sum, sterna::BinaryQ8Attrs{0, 0, 0, 0, net.lo - 1, net.lo + 1, 1.0f, 1.0f});
    net.b.Op(OpCode::kPoolQ8, {net.x}, short_attrs, sterna::GatherAttrs{1});
    const std::vector<ByteSet> sets = Follow(net.b);
    EXPECT(sets[sum].count() == 256 && sets[short_attrs].count() == 256);
  });
}

}  // namespace sterna_test
