// Depth-first strips: ops that follow each other, each on the rows that the one before has made, run as one op that makes a few rows of the
// last output at a time. The maps between them (an inverted residual's, six times as wide as what goes in and out) are never there as a
// whole: each thread has room for the rows of one strip, so the arena needs none.
//
//   wide     [######### ]   rows that the strip's window covers; those that the next strip needs too are kept
//   filtered [######]       rows of the strip
//   y        ......######.. the arena
//
// A thread computes the rows at the beginning of its range that belong to the range before once more. Rows are computed from the same
// numbers by the same kernels in any order, so the result is that of the ops one by one, bit by bit.
#pragma once
#include <atomic>
#include <memory>

#include "engine/op.h"

namespace sterna {

// How a strip of ops of these shapes works when the maps between them may take `bytes` in a thread: the rows of the last output at a time (one
// at least), and what the maps then take.
struct StripSize {
  int64_t rows;
  size_t bytes;
};
// What they may take on this CPU.
size_t UsualStripBytes();
StripSize SizeOfStrip(const RowShape* const* shapes, uint32_t count, size_t bytes);

// Units: output rows of the last op.
class Strips final : public OpDriver {
 public:
  // Of `count` drivers from `ops` on, which outlive it. The maps between them take `bytes` in a thread, or what one row takes. An error's op
  // is the index among them. Errors: kMalformedProgram.
  static Status Make(const DriverPtr* ops, uint32_t count, size_t bytes, std::unique_ptr<Strips>* strips);

  void Run(int64_t begin, int64_t end, uint8_t* scratch) override;

  int64_t rows() const { return rows_; }
  // Whether runs find out how long each op takes.
  void set_measured(bool measured) { measured_ = measured; }
  // Divides the time of a run, in op_ms[0], among the ops by the time that all threads have spent on each.
  void DivideTime(double* op_ms);

 private:
  // Rows [begin, end) of a map.
  struct Rows {
    int64_t begin, end;
  };
  // What the ops leave to each other in a thread's scratch.
  struct Buffers {
    MapRows maps[kMaxStripOps];
    int64_t ends[kMaxStripOps];  // the rows [first, end) of a map are there
  };

  Strips(const DriverPtr* ops, uint32_t count, size_t bytes);
  const RowShape& shape(uint32_t op) const { return *shapes_[op]; }
  Rows InputRows(uint32_t op, const Rows& y) const;
  void RunStrip(const Rows& y, Buffers* buffers, uint8_t* scratch);
  void RunOp(uint32_t op, const Rows& rows, const MapRows& x, const MapRows& y, uint8_t* scratch);

  OpDriver* ops_[kMaxStripOps];
  const RowShape* shapes_[kMaxStripOps];
  const uint32_t count_;
  int64_t rows_ = 1;  // of a strip
  bool measured_ = false;
  std::atomic<int64_t> spent_[kMaxStripOps] = {};  // nanoseconds of all threads
};

}  // namespace sterna
