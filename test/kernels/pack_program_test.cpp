// Programs with packed weights: the same bits as the plain ones, from memory and from a mapped file; whatever does not fit is refused.
#include "engine/pack_program.h"

#include <unistd.h>

#include <cstdlib>

#include "kernel_cases.h"
#include "program_builder.h"
#include "run_engine.h"
#include "sterna/checksum.h"

namespace sterna_test {
namespace {

using sterna::ConvGeometry;
using sterna::ConvQ8Attrs;
using sterna::Engine;
using sterna::LoadOptions;
using sterna::OpCode;
using sterna::Status;
using sterna::StatusCode;

constexpr uint32_t kSide = 6, kChannels = 40, kWide = 400;

uint32_t Weights(ProgramBuilder* b, std::initializer_list<uint32_t> dims, size_t count, int32_t lowest) {
  Random random(count);
  std::vector<int8_t> w(count);
  for (int8_t& v : w) v = static_cast<int8_t>(random.Int(-127, 127));
  w[0] = static_cast<int8_t>(lowest);
  return b->Constant(DType::kS8, dims, w);
}

void ConvQ8(ProgramBuilder* b, DType type, uint32_t x, uint32_t w, uint32_t y, uint32_t channels, int32_t group, int32_t pad, float scale) {
  const int32_t zp = Lowest(type) + 128;
  const ConvQ8Attrs a{{1, 1, pad, pad, pad, pad, 1, 1, group}, zp, zp, zp - 128, zp + 127, 0, 0, 0, 0, 0, 0};
  b->Op(OpCode::kConvQ8, {x, w, b->Constant(DType::kS32, {channels}, std::vector<int32_t>(channels, 9)), b->Constant(DType::kF32, {channels}, std::vector<float>(channels, scale))}, y, a);
}

// A spatial, a depthwise and a pointwise layer (which has a weight of -128: for ref alone), one of few pixels that threads share by
// panels, whose weights a second layer reads too, and a float convolution whose weights are an output as well.
Bytes BuildNet(DType type) {
  ProgramBuilder b(type);
  const uint32_t x = b.Input(type, {1, kSide, kSide, kChannels}, 48), dw = b.Tensor(type, {1, kSide, kSide, kChannels}, 48);
  const uint32_t pw = b.Tensor(type, {1, kSide, kSide, kChannels}, 48), last = b.Tensor(type, {1, 1, 1, kChannels}, 48);
  ConvQ8(&b, type, x, Weights(&b, {kChannels, 3, 3, 1}, kChannels * 9, -100), dw, kChannels, kChannels, 1, 0.01f);
  ConvQ8(&b, type, dw, Weights(&b, {kChannels, 1, 1, kChannels}, kChannels * kChannels, -128), pw, kChannels, 1, 0, 0.002f);
  ConvQ8(&b, type, pw, Weights(&b, {kChannels, kSide, kSide, kChannels}, kChannels * kSide * kSide * kChannels, 5), last, kChannels, 1, 0, 0.0005f);
  const uint32_t shared = Weights(&b, {kWide, 1, 1, kChannels}, kWide * kChannels, 6), twice = b.Output(type, {1, 1, 1, kWide}), wide = b.Tensor(type, {1, 1, 1, kWide});
  ConvQ8(&b, type, last, shared, wide, kWide, 1, 0, 0.003f);
  ConvQ8(&b, type, last, shared, twice, kWide, 1, 0, 0.001f);
  const uint32_t f = b.Tensor(DType::kF32, {1, 1, 1, kWide}), y = b.Output(DType::kF32, {1, 1, 1, 8});
  b.Op(OpCode::kDequantize, {wide}, f, sterna::QuantizeAttrs{0.01f, Lowest(type) + 128});
  std::vector<float> w(8 * kWide);
  for (size_t i = 0; i < w.size(); ++i) w[i] = 0.001f * static_cast<float>(i % 211) - 0.1f;
  const uint32_t weights = b.Constant(DType::kF32, {8, 1, 1, kWide}, w), copy = b.Output(DType::kF32, {8, 1, 1, kWide});
  b.Op(OpCode::kConvF32, {f, weights}, y, sterna::ConvF32Attrs{{1, 1, 0, 0, 0, 0, 1, 1, 1}, 1, 0, 0, 0});
  b.Op(OpCode::kUnaryF32, {weights}, copy, sterna::UnaryAttrs{9, 0, 0});
  return b.Build();
}

Status LoadBytes(const Bytes& bytes, const LoadOptions& options, std::unique_ptr<Engine>* engine) { return Engine::Load(bytes.data(), bytes.size(), options, engine); }

uint64_t ChecksumOf(const Bytes& bytes) {
  sterna::Checksum checksum;
  checksum.Add(bytes.data(), bytes.size());
  return checksum.Finish();
}

// A file that is gone when the test is over: `head` bytes, then `bytes`.
class TemporaryFile {
 public:
  TemporaryFile(size_t head, const Bytes& bytes) {
    char path[] = "/tmp/sterna-pack-XXXXXX";
    fd_ = mkstemp(path);
    EXPECT(fd_ >= 0);
    unlink(path);
    Bytes all(head, 0xee);
    all.insert(all.end(), bytes.begin(), bytes.end());
    EXPECT(write(fd_, all.data(), all.size()) == static_cast<ssize_t>(all.size()));
  }
  ~TemporaryFile() { close(fd_); }
  int fd() const { return fd_; }

 private:
  int fd_;
};

Status LoadFile(const sterna::FileRange& range, const LoadOptions& options, std::unique_ptr<Engine>* engine) {
  std::unique_ptr<sterna::MappedFile> file;
  const Status status = sterna::MappedFile::Open(range, &file);
  return status.ok() ? Engine::Load(std::move(file), options, engine) : status;
}

void ExpectSameBits(const Bytes& program, const LoadOptions& options) {
  std::unique_ptr<Engine> plain, copied, mapped;
  Bytes packed;
  EXPECT(LoadBytes(program, options, &plain).ok());
  const Status status = PackProgram(program.data(), program.size(), options, &packed);
  EXPECT_MSG(status.ok(), Format("%s, %d threads: %s (op %d)", options.isa, options.threads, status.message, status.op));
  if (plain == nullptr || !status.ok()) return;
  const std::vector<Bytes> expected = RunAll(*plain);
  EXPECT(LoadBytes(packed, options, &copied).ok());
  if (copied != nullptr) EXPECT_MSG(RunAll(*copied) == expected, Format("%s, %d threads: other bits from memory", options.isa, options.threads));
  for (const size_t head : {size_t{0}, size_t{4096 + 64}, size_t{8}}) {  // 8: not aligned, so packed weights are copied
    const TemporaryFile file(head, packed);
    EXPECT(LoadFile({file.fd(), head, packed.size(), ChecksumOf(packed)}, options, &mapped).ok());
    if (mapped != nullptr) EXPECT_MSG(RunAll(*mapped) == expected, Format("%s, %d threads: other bits from a file", options.isa, options.threads));
  }
  Bytes again;
  EXPECT(PackProgram(packed.data(), packed.size(), options, &again).ok());
  EXPECT_MSG(again == packed, "packing a packed program changes it");
}

}  // namespace

STERNA_TEST(a_checksum_is_that_of_the_specification) {
  EXPECT(ChecksumOf({}) == 0xef46db3751d8e999u);
  EXPECT(ChecksumOf({'a', 'b', 'c'}) == 0x44bc2cf5ad770999u);
  Bytes bytes(1000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7);
  sterna::Checksum pieces;
  pieces.Add(bytes.data(), 320);
  pieces.Add(bytes.data() + 320, 680);
  EXPECT(pieces.Finish() == ChecksumOf(bytes));
}

STERNA_TEST(a_packed_program_gives_the_bits_of_the_plain_one) {
  for (DType type : {DType::kU8, DType::kS8}) {
    for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
      if (!isa.runnable) continue;
      for (int threads : {1, 2, 3}) ExpectSameBits(BuildNet(type), OptionsFor(isa.isa, threads));
    }
  }
}

STERNA_TEST(weights_packed_for_other_kernels_or_threads_are_refused) {
  const Bytes program = BuildNet(DType::kU8);
  Bytes packed;
  EXPECT(PackProgram(program.data(), program.size(), OptionsFor(nullptr, 1), &packed).ok());
  std::unique_ptr<Engine> engine;
  EXPECT(LoadBytes(packed, OptionsFor(nullptr, 2), &engine).code == StatusCode::kMalformedProgram);
  if (std::strcmp(sterna::BestIsa().kernels.isa, "ref") != 0) EXPECT(LoadBytes(packed, OptionsFor("ref", 1), &engine).code == StatusCode::kMalformedProgram);
  EXPECT(engine == nullptr);
}

STERNA_TEST(a_packed_program_with_any_byte_of_its_structure_changed_is_refused_or_runs) {
  const Bytes program = BuildNet(DType::kU8);
  Bytes packed;
  EXPECT(PackProgram(program.data(), program.size(), OptionsFor(nullptr, 1), &packed).ok());
  sterna::ProgramHeader header;
  std::memcpy(&header, packed.data(), sizeof(header));
  std::vector<size_t> places;
  for (size_t i = 0; i < header.const_offset; ++i) places.push_back(i);
  for (uint32_t i = 0; i < header.tensor_count; ++i) {
    sterna::TensorRecord t;
    std::memcpy(&t, packed.data() + 64 + i * sizeof(t), sizeof(t));
    if (t.location != static_cast<uint8_t>(sterna::Location::kPacked)) continue;
    for (size_t at = 0; at < sizeof(sterna::PackedRecord); ++at) places.push_back(header.const_offset + t.offset + at);
  }
  LoadOptions options;
  options.memory_limit = 8u << 20;
  const size_t step = sterna_test::DamageStep();
  int loaded = 0;
  for (size_t i = 0; i < places.size(); i += step) {
    const size_t at = places[i];
    for (const uint8_t change : {uint8_t{0x01}, uint8_t{0x02}, uint8_t{0x80}, uint8_t{0xff}}) {
      Bytes mutated = packed;
      mutated[at] ^= change;
      const TemporaryFile file(0, mutated);
      std::unique_ptr<Engine> engine;
      const Status status = LoadFile({file.fd(), 0, mutated.size(), ChecksumOf(mutated)}, options, &engine);
      EXPECT(status.ok() || status.message[0] != '\0');
      if (!status.ok() || engine->input_count() != 1) continue;
      ++loaded;
      (void)RunAll(*engine);
    }
  }
  EXPECT_MSG(loaded > static_cast<int>(100 / step), "too few changes load for this test to say much");
}

STERNA_TEST(a_file_that_is_not_what_its_checksum_says_is_refused) {
  const Bytes program = BuildNet(DType::kU8);
  Bytes packed;
  EXPECT(PackProgram(program.data(), program.size(), OptionsFor(nullptr, 1), &packed).ok());
  const uint64_t checksum = ChecksumOf(packed);
  std::unique_ptr<Engine> engine;
  for (size_t size = 0; size < packed.size(); size += 1 + size / 3) {
    const TemporaryFile file(0, Bytes(packed.begin(), packed.begin() + static_cast<long>(size)));
    EXPECT(LoadFile({file.fd(), 0, packed.size(), checksum}, {}, &engine).code == StatusCode::kDamagedFile);
    EXPECT(LoadFile({file.fd(), 0, size, checksum}, {}, &engine).code == StatusCode::kDamagedFile);
  }
  for (size_t at = 0; at < packed.size(); at += 1 + packed.size() / 64) {
    Bytes flipped = packed;
    flipped[at] ^= 0x10;
    const TemporaryFile file(0, flipped);
    EXPECT(LoadFile({file.fd(), 0, flipped.size(), checksum}, {}, &engine).code == StatusCode::kDamagedFile);
  }
  EXPECT(LoadFile({-1, 0, packed.size(), checksum}, {}, &engine).code == StatusCode::kDamagedFile);
  EXPECT(engine == nullptr);
}

}  // namespace sterna_test
