#include "engine/strips.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace sterna {
namespace {

constexpr MapRows kWhole{nullptr, 0};

// Of what `op` writes, for strips of `rows` rows of the last output.
size_t MapBytes(const RowShape* const* shapes, uint32_t count, uint32_t op, int64_t rows) {
  for (uint32_t later = count - 1; later > op; --later) rows = std::min((rows - 1) * shapes[later]->stride + shapes[later]->taps, shapes[later]->x_rows);
  return RoundUp(static_cast<uint64_t>(rows) * shapes[op]->y_row + kSlack, kAlignment);
}

size_t MapBytes(const RowShape* const* shapes, uint32_t count, int64_t rows) {
  size_t bytes = 0;
  for (uint32_t op = 0; op + 1 < count; ++op) bytes += MapBytes(shapes, count, op, rows);
  return bytes;
}

}  // namespace

size_t UsualStripBytes() { return std::strncmp(BestIsa().kernels.isa, "avx512", 6) == 0 ? kWideStripBytes : kStripBytes; }

StripSize SizeOfStrip(const RowShape* const* shapes, uint32_t count, size_t bytes) {
  int64_t rows = 1;
  for (int64_t most = shapes[count - 1]->y_rows; rows < most;) {
    const int64_t middle = rows + (most - rows + 1) / 2;
    if (MapBytes(shapes, count, middle) <= bytes) rows = middle;
    else most = middle - 1;
  }
  return {rows, MapBytes(shapes, count, rows)};
}

Status Strips::Make(const DriverPtr* ops, uint32_t count, size_t bytes, std::unique_ptr<Strips>* strips) {
  for (uint32_t op = 0; op < count; ++op) {
    const RowShape* shape = ops[op]->row_shape();
    if (shape == nullptr || (op > 0 && !shape->reads_elsewhere)) {
      return Status::Error(StatusCode::kMalformedProgram, "a convolution of this form cannot be at this place of a strip", static_cast<int32_t>(op));
    }
  }
  strips->reset(new Strips(ops, count, bytes));
  return Status::Ok();
}

Strips::Strips(const DriverPtr* ops, uint32_t count, size_t bytes) : count_(count) {
  for (uint32_t op = 0; op < count; ++op) {
    ops_[op] = ops[op].get();
    shapes_[op] = ops_[op]->row_shape();
  }
  const StripSize size = SizeOfStrip(shapes_, count, bytes);
  rows_ = size.rows;
  units_ = shape(count - 1).y_rows;
  granularity_ = rows_;
  for (uint32_t op = 0; op < count; ++op) {
    cost_ += ops_[op]->cost();
    flushes_ = flushes_ || ops_[op]->flushes();  // integers know no mode
    scratch_bytes_ = std::max(scratch_bytes_, ops_[op]->scratch_bytes());
  }
  scratch_bytes_ += size.bytes;
  kernel_ = "strips";
}

// The rows of x that an op reads for rows of y.
Strips::Rows Strips::InputRows(uint32_t op, const Rows& y) const {
  const RowShape& s = shape(op);
  const int64_t begin = std::clamp<int64_t>(y.begin * s.stride - s.pad, 0, s.x_rows);
  return {begin, std::clamp<int64_t>((y.end - 1) * s.stride - s.pad + s.taps, begin, s.x_rows)};
}

void Strips::Run(int64_t begin, int64_t end, uint8_t* scratch) {
  Buffers buffers;
  for (uint32_t op = 0; op + 1 < count_; ++op) {
    buffers.maps[op] = {scratch, 0};
    buffers.ends[op] = 0;
    scratch += MapBytes(shapes_, count_, op, rows_);
  }
  for (int64_t row = begin; row < end; row += rows_) RunStrip({row, std::min(row + rows_, end)}, &buffers, scratch);
}

void Strips::RunStrip(const Rows& y, Buffers* buffers, uint8_t* scratch) {
  Rows needed[kMaxStripOps];
  const uint32_t last = count_ - 1;
  needed[last] = y;
  for (uint32_t op = last; op > 0; --op) needed[op - 1] = InputRows(op, needed[op]);
  for (uint32_t op = 0; op < last; ++op) {
    MapRows& map = buffers->maps[op];
    int64_t& there = buffers->ends[op];
    const auto [begin, end] = needed[op];
    const size_t row = shape(op).y_row;
    const int64_t kept = std::max<int64_t>(there - begin, 0);
    if (kept > 0 && begin > map.first) std::memmove(map.data, map.data + static_cast<size_t>(begin - map.first) * row, static_cast<size_t>(kept) * row);
    map.first = begin;
    if (begin + kept < end) RunOp(op, {begin + kept, end}, op == 0 ? kWhole : buffers->maps[op - 1], map, scratch);
    there = end;
  }
  RunOp(last, y, buffers->maps[last - 1], kWhole, scratch);
}

void Strips::RunOp(uint32_t op, const Rows& rows, const MapRows& x, const MapRows& y, uint8_t* scratch) {
  using Clock = std::chrono::steady_clock;
  if (!measured_) return ops_[op]->RunRows(rows.begin, rows.end, x, y, scratch);
  const Clock::time_point start = Clock::now();
  ops_[op]->RunRows(rows.begin, rows.end, x, y, scratch);
  spent_[op].fetch_add(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count(), std::memory_order_relaxed);
}

void Strips::DivideTime(double* op_ms) {
  int64_t total = 0, spent[kMaxStripOps];
  for (uint32_t op = 0; op < count_; ++op) total += spent[op] = spent_[op].exchange(0, std::memory_order_relaxed);
  const double ms = op_ms[0];
  for (uint32_t op = 0; op < count_; ++op) op_ms[op] = ms * static_cast<double>(spent[op]) / static_cast<double>(std::max<int64_t>(total, 1));
}

}  // namespace sterna
