#include "nearest/nearest.h"

#include <limits>

#include "families/dots_s8/kernel.h"

namespace sterna {
namespace {

// Dot products of a block stay in the first-level cache.
constexpr size_t kBlock = 256;

// The best owners so far, by what their best row has at least, worst last.
class BestOwners {
 public:
  explicit BestOwners(size_t wanted) : wanted_(wanted) {}

  // Nobody below it is among the best; -infinity while there are fewer than wanted.
  float limit() const { return count_ == wanted_ ? least_[count_ - 1] : -std::numeric_limits<float>::infinity(); }

  void Add(int32_t owner, float least) {
    size_t at = 0;
    while (at < count_ && owner_[at] != owner) ++at;
    if (at == count_) {
      if (count_ < wanted_) ++count_;
      at = count_ - 1;
    } else if (least <= least_[at]) {
      return;
    }
    for (; at > 0 && least_[at - 1] < least; --at) owner_[at] = owner_[at - 1], least_[at] = least_[at - 1];
    owner_[at] = owner, least_[at] = least;
  }

 private:
  size_t wanted_, count_ = 0;
  int32_t owner_[kMaxNearestOwners];
  float least_[kMaxNearestOwners];
};

}  // namespace

size_t NearestCandidates(const CodedRows& rows, const Codes& query, size_t owners, const DotsS8Kernel& kernel, float* cosines, uint32_t* out) {
  // <r, q> - <r', q'> = <r - r', q> + <r', q - q'>, at most e_r + (1 + e_r) e_q by Cauchy-Schwarz; the margins are for vectors whose length is
  // one within 1e-3, and for the rounding of this arithmetic.
  const float by_row = 1.002f * (1.0f + query.error), constant = 1.002f * query.error + 1e-5f;
  BestOwners best(owners);
  int32_t dots[kBlock];
  for (size_t first = 0; first < rows.count; first += kBlock) {
    const size_t n = rows.count - first < kBlock ? rows.count - first : kBlock;
    kernel.run(n, rows.depth, rows.codes + first * rows.depth, query.codes, dots);
    const float *const scale = rows.scale + first, *const error = rows.error + first;
    for (size_t i = 0; i < n; ++i) cosines[first + i] = static_cast<float>(dots[i]) * (scale[i] * query.scale);
    for (size_t i = 0; i < n; ++i) {
      const float least = cosines[first + i] - (by_row * error[i] + constant);
      if (least > best.limit()) best.Add(rows.owner[first + i], least);
    }
  }
  const float limit = best.limit();
  size_t count = 0;
  for (size_t i = 0; i < rows.count; ++i) {
    if (cosines[i] + (by_row * rows.error[i] + constant) >= limit) out[count++] = static_cast<uint32_t>(i);
  }
  return count;
}

}  // namespace sterna
