// Pixels of a tensor in runs: what an incremental run computes of an op's output (regions.h). A pixel is what all axes but the last index.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace sterna {

struct Span {
  int64_t first, count;
  int64_t before;  // pixels of the spans before it in its list
};

// In order, without overlaps. Holds as many spans as were reserved.
class SpanList {
 public:
  void Reserve(size_t spans) { spans_.reserve(spans); }
  void Clear() { spans_.clear(); }
  // Appends pixels [first, first + count), which lie behind all others; joins them to the last span if they follow it directly.
  void Add(int64_t first, int64_t count) {
    if (!spans_.empty() && spans_.back().first + spans_.back().count == first) spans_.back().count += count;
    else spans_.push_back({first, count, pixels()});
  }
  // Lets the last span end at `end`.
  void ExtendLast(int64_t end) { spans_.back().count = end - spans_.back().first; }

  int64_t pixels() const { return spans_.empty() ? 0 : spans_.back().before + spans_.back().count; }
  const std::vector<Span>& spans() const { return spans_; }

 private:
  std::vector<Span> spans_;
};

// Walks a share of a list: the pixels [begin, end), counted along the list.
class SpanReader {
 public:
  SpanReader(const SpanList& list, int64_t begin, int64_t end) : left_(end - begin) {
    const std::vector<Span>& spans = list.spans();
    if (left_ <= 0) return;
    const auto behind = std::upper_bound(spans.begin(), spans.end(), begin, [](int64_t pixel, const Span& span) { return pixel < span.before; });
    at_ = &*(behind - 1);
    skipped_ = begin - at_->before;
  }

  int64_t left() const { return left_; }
  // The pixels that follow each other from the next one on.
  int64_t run() const { return left_ == 0 ? 0 : std::min(at_->count - skipped_, left_); }
  // Takes the next run() pixels, at most `most`, and says how many they are. Only where some are left.
  int64_t Take(int64_t most, int64_t* first) {
    const int64_t count = std::min(run(), most);
    *first = at_->first + skipped_;
    left_ -= count;
    skipped_ += count;
    if (skipped_ == at_->count && left_ > 0) ++at_, skipped_ = 0;
    return count;
  }

 private:
  const Span* at_ = nullptr;
  int64_t skipped_ = 0, left_ = 0;
};

// Takes all that is left, row by row of a map `width` pixels wide: body(row, begin, end), for columns [begin, end) of a row.
template <typename Body>
void ForEachRow(SpanReader spans, int64_t width, Body body) {
  while (spans.left() > 0) {
    int64_t first;
    const int64_t end = spans.Take(spans.run(), &first) + first;
    for (int64_t pixel = first, columns; pixel < end; pixel += columns) {
      const int64_t column = pixel % width;
      columns = std::min(end - pixel, width - column);
      body(pixel / width, column, column + columns);
    }
  }
}

}  // namespace sterna
