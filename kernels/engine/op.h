// How the engine sees an op: prepared once at load, then run on ranges of its output.
//
// prepare (at load)  checks tensors and attributes, packs weights, allocates what the op keeps, and binds every pointer;
// run (begin, end)   computes the units [begin, end) of the output, on any thread, writing nothing else and allocating nothing.
//
// A unit is the smallest piece of output that is worth handing to a thread: an output pixel, an output row, a block of channels, a
// segment of a long vector. What a unit computes never depends on the range it came in, so that any division among threads gives
// the same bits.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "engine/memory.h"
#include "engine/packed.h"
#include "engine/program.h"
#include "engine/spans.h"
#include "engine/subnormals.h"
#include "engine/value_sets.h"
#include "sterna/registry.h"

namespace sterna {

// Rows of a feature map, of which row `first` is at `data`; null: the rows are where the program has the whole map.
struct MapRows {
  uint8_t* data;
  int64_t first;
};

// What a strip (strips.h) must know of an op that works on the rows of one feature map.
struct RowShape {
  int64_t x_rows, y_rows;
  size_t x_row, y_row;        // bytes
  int64_t taps, stride, pad;  // output row r reads the input rows [r * stride - pad, + taps) that there are
  bool reads_elsewhere;       // RunRows takes input rows from anywhere
};

class OpDriver {
 public:
  virtual ~OpDriver() = default;
  // `scratch`: scratch_bytes() bytes, 64-byte aligned, of this thread alone.
  virtual void Run(int64_t begin, int64_t end, uint8_t* scratch) = 0;
  // Output rows [begin, end) from rows of x to rows of y. Only ops with a row_shape have it.
  virtual void RunRows(int64_t, int64_t, const MapRows&, const MapRows&, uint8_t*) {}
  // Null: the op cannot be part of a strip.
  virtual const RowShape* row_shape() const { return nullptr; }
  // Whether the op can read its first input and write its output where the caller has them: dense, aligned to elements, nothing readable or writable beyond.
  virtual bool takes_outside() const { return false; }
  // Where the next runs do so; null: where they were when it was prepared. Only for ops that take it.
  virtual void ReadFrom(const uint8_t*) {}
  virtual void WriteTo(uint8_t*) {}
  // Whether RunSpans can compute any pixels of the output.
  virtual bool takes_spans() const { return false; }
  // The pixels of some spans of the output, to the bits that Run gives them. `scratch`: span_scratch_bytes().
  virtual void RunSpans(SpanReader, uint8_t*) {}
  virtual size_t span_scratch_bytes() const { return scratch_bytes_; }
  // False after a run that met data it cannot work on (an index out of range).
  virtual bool Succeeded() { return true; }
  // What such a run met.
  virtual const char* problem() const { return "an index is out of range"; }

  int64_t units() const { return units_; }
  // Ranges are best multiples of this many units (the height of a GEMM tile).
  int64_t granularity() const { return granularity_; }
  // Rough cost of the whole op in nanoseconds on a slow core: whether to wake threads for it.
  int64_t cost() const { return cost_; }
  size_t scratch_bytes() const { return scratch_bytes_; }
  const char* kernel() const { return kernel_; }
  // Why that kernel, for people; may be empty.
  const std::string& note() const { return note_; }
  void set_note(std::string note) { note_ = std::move(note); }
  // Whether subnormal numbers count as zero in it.
  bool flushes() const { return flushes_; }
  void set_flushes(bool flushes) { flushes_ = flushes; }
  // Run, in the mode that the op wants.
  void RunInMode(int64_t begin, int64_t end, uint8_t* scratch) {
    const FlushSubnormals mode(flushes_);
    Run(begin, end, scratch);
  }

 protected:
  int64_t units_ = 1;
  int64_t granularity_ = 1;
  int64_t cost_ = 0;
  size_t scratch_bytes_ = 0;
  const char* kernel_ = "";
  bool flushes_ = false;
  std::string note_;
};

// What an op's prepare function works with.
class OpContext {
 public:
  OpContext(const Program& program, const OpView& op, const KernelSet& kernels, int threads, Memory* memory, uint8_t* arena,
            std::vector<uint8_t*>* retained, PackedStore* packed, const std::vector<ByteSet>& values)
      : program_(program), op_(op), kernels_(kernels), threads_(threads), memory_(memory), arena_(arena), retained_(retained), packed_(packed), values_(values) {}

  const KernelSet& kernels() const { return kernels_; }
  int threads() const { return threads_; }
  DType activation() const { return program_.activation; }
  // Lowest and highest value of the program's 8-bit activations.
  int32_t lowest() const { return activation() == DType::kU8 ? 0 : -128; }
  int32_t highest() const { return lowest() + 255; }

  uint32_t input_count() const { return op_.input_count; }
  // Null when the input is absent.
  const Tensor* Input(uint32_t i) const {
    if (i >= op_.input_count || op_.inputs[i] == kAbsent) return nullptr;
    return &program_.tensors[op_.inputs[i]];
  }
  const Tensor& Output(uint32_t i = 0) const { return program_.tensors[op_.outputs[i]]; }
  // Whether the op is one of a strip: then it works on rows.
  bool in_strip() const { return Output().location == Location::kStrip || (Input(0) != nullptr && Input(0)->location == Location::kStrip); }

  // The bytes that 8-bit input `i`, which is present, can hold.
  const ByteSet& Values(uint32_t i) const { return values_[op_.inputs[i]]; }

  // The op's attributes; the op table has checked the size.
  template <typename T>
  const T& Attrs() const { return *reinterpret_cast<const T*>(op_.attrs); }

  // Where the elements are at run time, as bytes: null for a map of a strip. A constant is copied into the program's memory on first use.
  Status InputData(uint32_t i, const uint8_t** data) const;
  uint8_t* OutputData(uint32_t i = 0) const { return Output(i).location == Location::kStrip ? nullptr : arena_ + Output(i).offset; }

  // The bytes of a constant, valid during load only: for what is packed or copied. Null when the input is absent or not constant.
  const uint8_t* Constant(uint32_t i) const {
    const Tensor* t = Input(i);
    return t != nullptr && t->location == Location::kConst ? program_.constants + t->offset : nullptr;
  }

  // The record of weights that the program brings packed; null when it brings them plain.
  const PackedRecord* Packed(uint32_t i) const {
    const Tensor* t = Input(i);
    return t != nullptr && t->location == Location::kPacked ? reinterpret_cast<const PackedRecord*>(program_.constants + t->offset) : nullptr;
  }

  // The weights of input `i` in packed form, valid as long as the program: as the program brings them, or as `pack(block)` writes them
  // to a block of form.bytes. `pack` returns false when its kernel cannot be exact for them; then *block is null.
  template <typename Pack>
  Status PackedWeights(uint32_t i, const PackedForm& form, Pack pack, const uint8_t** block) const {
    if (Packed(i) != nullptr) return TakePacked(i, form, block);
    uint8_t* fresh;
    const Status status = Allocate(form.bytes, &fresh);
    const bool exact = status.ok() && pack(fresh);
    *block = exact ? fresh : nullptr;
    if (status.ok() && !exact) memory_->DiscardLast();
    if (exact) packed_->entries.push_back({packed_->op, i, form, fresh});
    return status;
  }

  Status Allocate(uint64_t bytes, uint8_t** block) const { return memory_->Allocate(bytes, block); }
  Status Reserve(uint64_t bytes) const { return memory_->Reserve(bytes); }

 private:
  Status TakePacked(uint32_t i, const PackedForm& form, const uint8_t** block) const;

  const Program& program_;
  const OpView& op_;
  const KernelSet& kernels_;
  int threads_;
  Memory* memory_;
  uint8_t* arena_;
  std::vector<uint8_t*>* retained_;  // by tensor id; null: not copied yet
  PackedStore* packed_;
  const std::vector<ByteSet>& values_;  // by tensor id
};

using DriverPtr = std::unique_ptr<OpDriver>;
using PrepareFunction = Status (*)(const OpContext& context, DriverPtr* driver);

struct OpTraits {
  OpCode code;
  uint16_t min_inputs, max_inputs;  // one output always
  uint16_t required;                // the first `required` inputs must be present
  uint16_t attr_bytes;
  bool in_place;                    // the output may lie exactly on an input of the same type, shape and stride
  PrepareFunction prepare;
};

// Checks the op against its row of the table and prepares it.
Status PrepareOp(const OpContext& context, const OpView& op, DriverPtr* driver);

inline Status Unsupported(const char* message) { return Status::Error(StatusCode::kUnsupportedOp, message); }
inline Status Mismatch(const char* message) { return Status::Error(StatusCode::kShapeMismatch, message); }

// One prepare function for each opcode; ops/<op>.cpp.
Status PrepareConvQ8(const OpContext& context, DriverPtr* driver);
Status PrepareThreshold(const OpContext& context, DriverPtr* driver);
Status PrepareConvQ8F32(const OpContext& context, DriverPtr* driver);
Status PrepareConvF32(const OpContext& context, DriverPtr* driver);
Status PrepareBinaryQ8(const OpContext& context, DriverPtr* driver);
Status PrepareLutQ8(const OpContext& context, DriverPtr* driver);
Status PreparePoolQ8(const OpContext& context, DriverPtr* driver);
Status PreparePoolF32(const OpContext& context, DriverPtr* driver);
Status PrepareResizeQ8(const OpContext& context, DriverPtr* driver);
Status PrepareResizeF32(const OpContext& context, DriverPtr* driver);
Status PrepareQuantize(const OpContext& context, DriverPtr* driver);
Status PrepareDequantize(const OpContext& context, DriverPtr* driver);
Status PrepareNormalizeU8(const OpContext& context, DriverPtr* driver);
Status PrepareMatMulW4(const OpContext& context, DriverPtr* driver);
Status PrepareMatMulF32(const OpContext& context, DriverPtr* driver);
Status PrepareBinaryF32(const OpContext& context, DriverPtr* driver);
Status PrepareUnaryF32(const OpContext& context, DriverPtr* driver);
Status PrepareReduceF32(const OpContext& context, DriverPtr* driver);
Status PrepareSoftmaxF32(const OpContext& context, DriverPtr* driver);
Status PrepareNormalizeF32(const OpContext& context, DriverPtr* driver);
Status PrepareAttentionF32(const OpContext& context, DriverPtr* driver);
Status PrepareCopy(const OpContext& context, DriverPtr* driver);
Status PrepareTranspose(const OpContext& context, DriverPtr* driver);
Status PreparePad(const OpContext& context, DriverPtr* driver);
Status PrepareGather(const OpContext& context, DriverPtr* driver);
Status PrepareCast(const OpContext& context, DriverPtr* driver);
Status PrepareCompare(const OpContext& context, DriverPtr* driver);
Status PrepareLogic(const OpContext& context, DriverPtr* driver);
Status PrepareSelect(const OpContext& context, DriverPtr* driver);
Status PrepareBinaryS32(const OpContext& context, DriverPtr* driver);
Status PrepareReduceS32(const OpContext& context, DriverPtr* driver);
Status PrepareGatherElements(const OpContext& context, DriverPtr* driver);
Status PrepareGatherNd(const OpContext& context, DriverPtr* driver);
Status PrepareArgReduce(const OpContext& context, DriverPtr* driver);
Status PrepareTopK(const OpContext& context, DriverPtr* driver);
Status PrepareNonMaxSuppression(const OpContext& context, DriverPtr* driver);
Status PrepareCumSum(const OpContext& context, DriverPtr* driver);
Status PrepareRecurrentF32(const OpContext& context, DriverPtr* driver);
Status PrepareResampleF32(const OpContext& context, DriverPtr* driver);
Status PrepareMatMulS32(const OpContext& context, DriverPtr* driver);
Status PrepareRangeF32(const OpContext& context, DriverPtr* driver);
Status PrepareRangeScale(const OpContext& context, DriverPtr* driver);
Status PrepareQuantizeBy(const OpContext& context, DriverPtr* driver);
Status PrepareMatMulQ8F32(const OpContext& context, DriverPtr* driver);

}  // namespace sterna
