// A program as read from its wire format (include/sterna/program.h): every count, offset and extent is checked. What the ops
// mean, and whether their tensors fit together, is checked by each op's driver (op.h).
#pragma once
#include <cstddef>
#include <vector>

#include "sterna/program.h"
#include "sterna/status.h"

namespace sterna {

constexpr uint32_t kMaxTensors = 1u << 20;
constexpr uint32_t kMaxOps = 1u << 18;
constexpr uint64_t kMaxElements = uint64_t{1} << 34;

inline size_t SizeOf(DType type) { return type == DType::kF32 || type == DType::kS32 ? 4 : 1; }

struct Tensor {
  DType dtype;
  Location location;
  int rank;
  int64_t dims[kMaxRank];  // unused entries are 1
  int64_t pixel_stride;    // elements
  uint64_t offset;         // bytes
  int64_t elements;        // product of dims

  // Size of the last axis; 1 for a scalar.
  int64_t channels() const { return rank == 0 ? 1 : dims[rank - 1]; }
  // Product of all axes but the last: pixel p starts at element p * pixel_stride.
  int64_t pixels() const { return elements / channels(); }
  bool dense() const { return pixels() == 1 || pixel_stride == channels(); }
  // Elements from the first to the last, gaps included.
  int64_t extent() const { return (pixels() - 1) * pixel_stride + channels(); }
  uint64_t bytes() const { return static_cast<uint64_t>(elements) * SizeOf(dtype); }
  bool is_q8() const { return dtype == DType::kU8 || dtype == DType::kS8; }
};

bool SameShape(const Tensor& a, const Tensor& b);

// The distance, in elements, between successive indices of each axis.
void StridesOf(const Tensor& t, int64_t strides[kMaxRank]);

// Whether two tensors in the arena share a byte. Slices of the channels of one feature map do not, though they interleave.
bool Overlap(const Tensor& a, const Tensor& b);

// One op; the pointers lead into the program's bytes.
struct OpView {
  OpCode code;
  uint32_t input_count, output_count, attr_bytes;
  const uint32_t* inputs;  // tensor ids or kAbsent; the outputs follow
  const uint32_t* outputs;
  const uint8_t* attrs;
};

// Ops that run as one (strips.h): each but the last writes a map of a strip, which the next one reads, and nobody else.
struct StripOps {
  uint32_t first, count;
};
constexpr uint32_t kMaxStripOps = 8;

struct Program {
  DType activation;
  uint64_t arena_bytes;
  const uint8_t* constants;
  std::vector<Tensor> tensors;
  std::vector<OpView> ops;
  std::vector<StripOps> strips;  // in order
  std::vector<uint32_t> inputs, outputs;
};

// `bytes` must be aligned to 8 and outlive the program. Errors: kMalformedProgram, kUnsupportedVersion, kLimitExceeded.
Status ParseProgram(const uint8_t* bytes, size_t size, uint64_t memory_limit, Program* program);

}  // namespace sterna
