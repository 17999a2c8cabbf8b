// What the GEMMs over bit planes share on x86: panels of channels, blocks of rows, and the way from counts to sums and bytes. A Core counts
// where the bits of a row and of weights differ (gemm_popcount.h, gemm_lookup.h):
//
//   Vector, kBits, kGated                          kGated: its counts are sums
//   kWidth, kVectors, kRows[]                      tiles are kRows[v - 1] rows x v vectors of kWidth channels
//   BlockScratch(rows, words), PrepareRows(...)    what it keeps of a block of rows
//   PutWord(...)                                   where it wants a word of weights
//   Tile<gemm, rows, vectors>(job, place)          counts, then calls gemm::FinishCounts
//
// A sum follows from one count c of a row and a channel, since what depends on the row alone is counted once a row:
//   binary          depth - 2 c         c = popcount(a ^ w)
//   ternary-binary  |mask| - 2 c        c = popcount(mask & (sign ^ w))
//   ternary         |mask| - c - c'     as half the sum of two ternary-binary ones: w = (b + b') / 2, where 0 is 1 and -1
//   ternary, gated  c                   c = popcount(nz) - 2 popcount(nz & (sign ^ w)), nz = mask & mask_w, from a Core that can count so
//
//   packed: int32 bias[round_up(n, width)] (+ depth, binary); panels of words, each with every plane of every vector
#pragma once
#include "families/gemm_bnn/kernel.h"
#include "tile_q8_x86.h"

namespace sterna {
namespace {

enum class Bits { kBinary, kTernaryBinary, kTernary };

// Where a word of weights belongs within a panel.
struct WordAt {
  size_t word, vectors, vector, plane, channel;
};

static inline int32_t CountOnes(const uint32_t* words, size_t n) {
  uint32_t ones = 0;
  for (size_t p = 0; p < n; ++p) {
    uint32_t x = words[p] - (words[p] >> 1 & 0x55555555u);
    x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
    ones += ((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
  }
  return static_cast<int32_t>(ones);
}

template <typename Core>
struct GemmBits {
  using V = typename Core::Vector;
  using Int = typename V::Int;
  using Finish = TileQ8<V>;
  static constexpr size_t kLanes = V::kLanes, kWidth = Core::kWidth;
  static constexpr size_t kPlanes = Core::kBits == Bits::kTernary ? 2 : 1;
  static constexpr bool kTerms = Core::kBits != Bits::kBinary && !Core::kGated;
  static constexpr size_t kBlockBytes = 32 * 1024;  // of rows of A and Y, which every panel passes over before the next block
  static constexpr size_t kMinBlockRows = 48;

  static size_t PackedBytes(size_t n, size_t words) { return RoundUp(n, kWidth) * sizeof(int32_t) * (1 + words * kPlanes); }

  static void Pack(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t* mask, const int32_t* bias, void* packed) {
    int32_t* out = static_cast<int32_t*>(packed);
    for (size_t o = 0; o < RoundUp(n, kWidth); ++o) {
      const uint32_t b = o < n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
      *out++ = static_cast<int32_t>(b + (Core::kBits == Bits::kBinary ? static_cast<uint32_t>(depth) : 0));
    }
    for (size_t first = 0; first < n; first += Core::kVectors * kWidth) {
      const size_t vectors = VectorsFrom(n, first);
      for (size_t p = 0; p < words; ++p) {
        for (size_t c = 0; c < vectors * kWidth; ++c) {
          const size_t from = (first + c) * words + p;
          const uint32_t word = first + c < n ? sign[from] : 0;
          Core::PutWord({p, vectors, c / kWidth, 0, c % kWidth}, word, out);
          if (kPlanes == 2) Core::PutWord({p, vectors, c / kWidth, 1, c % kWidth}, first + c < n ? (Core::kGated ? mask[from] : word | ~mask[from]) : 0, out);
        }
      }
      out += words * vectors * kWidth * kPlanes;
    }
  }

  static size_t VectorsFrom(size_t n, size_t first) {
    const size_t vectors = CeilDiv(n - first, kWidth), most = Core::kVectors;
    return vectors < most ? vectors : most;
  }

  static size_t BlockRows(size_t n, size_t words) {
    const size_t fitting = kBlockBytes / (n + words * 8);
    return fitting > kMinBlockRows ? fitting : kMinBlockRows;
  }
  static size_t ScratchBytes(size_t m, size_t n, size_t words) {
    const size_t most = BlockRows(n, words), rows = m < most ? m : most;
    return RoundUp(rows * sizeof(int32_t), 64) + Core::BlockScratch(rows, words);
  }

  // A block of rows; `rows` of what PrepareRows kept, terms what FinishCounts adds for each row.
  struct Job : Finish::Output {
    const GemmBitsArgs* args;
    const int32_t* terms;
    const void* rows;
    size_t first;
  };

  // Rows of one panel.
  struct Place : Finish::Place {
    const uint8_t* w;
    const int32_t* bias;
    size_t left;  // channels from this one on
    size_t row;   // of the block
  };

  static Place Below(const Job& job, Place at, size_t rows) {
    static_cast<typename Finish::Place&>(at) = Finish::Below(at, job, rows);
    at.row += rows;
    return at;
  }
  static Place RightOf(Place at, size_t channels) {
    at.channel += channels, at.bias += channels, at.left -= channels, at.y += channels;
    at.mask = V::MakeMask(at.left);
    if (at.residual != nullptr) at.residual += channels;
    return at;
  }

  // From counts to the output, in place.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void FinishCounts(const Job& job, const Place& at, Int (&acc)[kRows * kVectors]) {
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const Int term = kTerms ? V::SetInt(job.terms[at.row + i]) : V::Zero();
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        Int& sum = acc[i * kVectors + v];
        const Int base = V::AddInt(V::LoadInt(at.bias + v * kLanes), term);
        if constexpr (Core::kGated) sum = V::AddInt(base, sum);
        else sum = V::SubInt(base, Core::kBits == Bits::kTernary ? sum : V::AddInt(sum, sum));
      }
    }
    if (job.args->row_bias != nullptr) AddRowBias<kRows, kVectors>(job, at, acc);
    if (job.args->sums != nullptr) return StoreSums<kRows, kVectors>(job, at, acc);
    Finish::template FinishTile<kRows, kVectors>(job, at, acc);
  }

  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void AddRowBias(const Job& job, const Place& at, Int (&acc)[kRows * kVectors]) {
    const int32_t* const* rows = job.args->row_bias + job.first + at.row;
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      if (rows[i] == nullptr) continue;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = V::AddInt(acc[i * kVectors + v], V::LoadInt(rows[i] + at.channel + v * kLanes));
    }
  }

  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void StoreSums(const Job& job, const Place& at, const Int (&acc)[kRows * kVectors]) {
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      int32_t* to = job.args->sums + (job.first + at.row + i) * job.args->sums_stride + at.channel;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) StoreSome(to + v * kLanes, static_cast<ptrdiff_t>(at.left) - v * static_cast<ptrdiff_t>(kLanes), acc[i * kVectors + v]);
    }
  }
  // As many as there are channels left, if any.
  static inline __attribute__((always_inline)) void StoreSome(int32_t* to, ptrdiff_t left, Int sums) {
    if (left >= static_cast<ptrdiff_t>(kLanes)) return V::StoreInt(to, sums);
    int32_t copy[kLanes];
    V::StoreInt(copy, sums);
    for (ptrdiff_t lane = 0; lane < left; ++lane) to[lane] = copy[lane];
  }

  // `tiles` tiles, one below the other; `at` ends below them.
  template <int kRows, int kVectors>
  static __attribute__((noinline)) void Column(const Job& job, Place& at, size_t tiles) {
    for (; tiles != 0; --tiles) {
      Core::template Tile<GemmBits, kRows, kVectors>(job, at);
      at = Below(job, at, kRows);
    }
  }

  template <int kVectors, int kRows = Core::kRows[kVectors - 1]>
  static void RunColumn(const Job& job, Place& at, size_t rows, size_t tiles) {
    if (rows == kRows) return Column<kRows, kVectors>(job, at, tiles);
    if constexpr (kRows > 1) RunColumn<kVectors, kRows - 1>(job, at, rows, tiles);
  }

  template <int kVectors = Core::kVectors>
  static void RunPanel(const Job& job, Place at, size_t vectors, size_t rows) {
    if constexpr (kVectors > 1) {
      if (vectors < kVectors) return RunPanel<kVectors - 1>(job, at, vectors, rows);
    }
    const Cut tiles = CutEvenly(rows, Core::kRows[kVectors - 1]);
    RunColumn<kVectors>(job, at, tiles.size + 1, tiles.longer);
    RunColumn<kVectors>(job, at, tiles.size, tiles.parts - tiles.longer);
  }

  static void RunBlock(const Job& job, size_t rows) {
    const GemmBitsArgs& args = *job.args;
    const int32_t* bias = static_cast<const int32_t*>(args.packed);
    const uint8_t* w = reinterpret_cast<const uint8_t*>(bias + RoundUp(args.n, kWidth));
    const uint8_t* residual = job.requant.residual;
    if (residual != nullptr) residual += job.first * job.requant.residual_stride;
    for (size_t channel = 0; channel < args.n; channel += Core::kVectors * kWidth) {
      const size_t left = args.n - channel, vectors = VectorsFrom(args.n, channel);
      uint8_t* y = args.y + job.first * args.y_stride + channel;
      RunPanel(job, {{channel, V::MakeMask(left), y, residual != nullptr ? residual + channel : nullptr}, w, bias + channel, left, 0}, vectors, rows);
      w += args.words * vectors * kWidth * sizeof(uint32_t) * kPlanes;
    }
  }

  static void Run(const GemmBitsArgs* args) {
    // Sums leave without an epilogue, and then there are no scales.
    const RequantQ8& requant = args->requant;
    const typename Finish::Output output = args->sums != nullptr ? typename Finish::Output{} : Finish::MakeOutput(requant, args->n, args->y_stride);
    const Cut blocks = CutEvenly(args->m, BlockRows(args->n, args->words));
    size_t first = 0;
    for (size_t block = 0; block < blocks.parts; ++block) {
      const size_t rows = PartSize(blocks, block);
      int32_t* terms = static_cast<int32_t*>(args->scratch);
      uint8_t* prepared = static_cast<uint8_t*>(args->scratch) + RoundUp(rows * sizeof(int32_t), 64);
      for (size_t i = 0; kTerms && i < rows; ++i) terms[i] = CountOnes(args->mask + (first + i) * args->a_stride, args->words);
      Core::PrepareRows(*args, first, rows, prepared);
      RunBlock({output, args, terms, prepared, first}, rows);
      first += rows;
    }
  }
};

}  // namespace
}  // namespace sterna
