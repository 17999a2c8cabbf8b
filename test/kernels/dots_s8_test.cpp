// Every runnable dots_s8 against ref, bit-equal for every input, operands next to guard pages; and the search that rests on it.
#include <algorithm>
#include <set>

#include "families/dots_s8/kernel.h"
#include "kernel_cases.h"
#include "nearest/nearest.h"

namespace sterna_test {
namespace {

using sterna::DotsS8Kernel;

int8_t AnyByte(Random& random, Fill fill) {
  switch (fill) {
    case Fill::kLow: return -128;
    case Fill::kHigh: return 127;
    case Fill::kExtremes: return random.Int(0, 1) != 0 ? 127 : -128;
    case Fill::kRandom: break;
  }
  return static_cast<int8_t>(random.Int(-128, 127));
}

void FillBytes(Random& random, Fill fill, Guarded& bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes.as<int8_t>()[i] = AnyByte(random, fill);
}

// In double, which holds every sum exactly.
double Exact(const int8_t* row, const int8_t* x, size_t depth) {
  double sum = 0;
  for (size_t k = 0; k < depth; ++k) sum += double{static_cast<double>(row[k])} * x[k];
  return sum;
}

}  // namespace

STERNA_TEST(dots_s8_equal_ref) {
  const DotsS8Kernel& ref = *sterna::RefKernels(DType::kU8).dots_s8;
  ForEachIsa("dots_s8", &sterna::IsaKernels::dots_s8, [&](const sterna::IsaKernels& isa) {
    Random random(17);
    for (const size_t depth : {size_t{64}, size_t{128}, size_t{512}, size_t{4096}}) {
      for (const size_t n : {size_t{0}, size_t{1}, size_t{3}, size_t{4}, size_t{5}, size_t{11}}) {
        for (const Fill fill : {Fill::kRandom, Fill::kLow, Fill::kHigh, Fill::kExtremes}) {
          Guarded rows(n * depth), x(depth), expected(n * 4), y(n * 4);
          FillBytes(random, fill, rows), FillBytes(random, fill, x);
          ref.run(n, depth, rows.as<int8_t>(), x.as<int8_t>(), expected.as<int32_t>());
          isa.dots_s8->run(n, depth, rows.as<int8_t>(), x.as<int8_t>(), y.as<int32_t>());
          EXPECT_MSG(FirstDifference(expected.data(), y.data(), n * 4) < 0, Format("%s: %zu rows of %zu", isa.dots_s8->name, n, depth));
          for (size_t i = 0; i < n; ++i) EXPECT(Exact(rows.as<int8_t>() + i * depth, x.as<int8_t>(), depth) == expected.as<int32_t>()[i]);
        }
      }
    }
  });
}

STERNA_TEST(dots_s8_holds_the_largest_sums) {
  const size_t depth = sterna::kDotsMaxDepth;
  ForEachIsa("dots_s8", &sterna::IsaKernels::dots_s8, [&](const sterna::IsaKernels& isa) {
    std::vector<int8_t> low(depth, -128), high(depth, 127);
    int32_t y[2];
    isa.dots_s8->run(1, depth, low.data(), low.data(), &y[0]);
    isa.dots_s8->run(1, depth, low.data(), high.data(), &y[1]);
    EXPECT(y[0] == 128 * 128 * static_cast<int32_t>(depth));
    EXPECT(y[1] == -128 * 127 * static_cast<int32_t>(depth));
  });
}

STERNA_TEST(nearest_candidates_hold_the_nearest_owners) {
  const DotsS8Kernel& kernel = *sterna::RefKernels(DType::kU8).dots_s8;
  Random random(23);
  for (int round = 0; round < 200; ++round) {
    const size_t depth = 64, count = static_cast<size_t>(random.Int(1, 600)), wanted = static_cast<size_t>(random.Int(1, 8));
    std::vector<int8_t> codes(count * depth), query(depth);
    for (int8_t& code : codes) code = AnyByte(random, Fill::kRandom);
    for (int8_t& code : query) code = AnyByte(random, Fill::kRandom);
    std::vector<float> scale(count), error(count), cosines(count);
    std::vector<int32_t> owner(count);
    for (size_t i = 0; i < count; ++i) scale[i] = random.Float(0.5f, 1.0f) / 1000, error[i] = random.Float(0, 0.02f), owner[i] = random.Int(0, 40);
    const float query_scale = 1.0f / 1000, query_error = random.Float(0, 0.02f);
    std::vector<uint32_t> out(count);
    const size_t found = NearestCandidates({codes.data(), scale.data(), error.data(), owner.data(), count, depth}, {query.data(), query_scale, query_error}, wanted, kernel, cosines.data(), out.data());
    out.resize(found);
    EXPECT(std::is_sorted(out.begin(), out.end()));
    // Any true cosines within the bounds: whoever is best then must be among the candidates.
    std::vector<double> truth(count);
    for (size_t i = 0; i < count; ++i) {
      const double bound = error[i] + (1 + error[i]) * query_error;
      truth[i] = Exact(codes.data() + i * depth, query.data(), depth) * scale[i] * query_scale + random.Float(-1, 1) * bound;
    }
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return truth[a] > truth[b]; });
    std::set<int32_t> owners;
    for (const size_t i : order) {
      if (owners.size() == wanted) break;
      if (owners.insert(owner[i]).second) EXPECT(std::binary_search(out.begin(), out.end(), static_cast<uint32_t>(i)));
    }
  }
}

}  // namespace sterna_test
