// Counts of differing bits by looking them up, where no instruction counts bits: the four bits of a row that a step takes, and their masks,
// choose a table of 16 counts, and the four bits of each channel an entry of it: one shuffle counts 4 bits of as many channels as there are
// bytes. (Counting the ones of 32 bits in each lane by the same shuffle takes twice as many instructions for each bit.) The tables are
// constants, 4 KB in all. Rows are turned into offsets of tables once a block. Compare T-MAC, arXiv 2407.00088.
//
// A step adds at most 4 to a byte, or 8 where two planes are looked up: bytes are widened to 16 bits after 7 (3) words, at most 224 (192),
// and 16 bits to 32 after 288 (336) times that, at most 64512.
#pragma once
#include "families/gemm_bnn/kernel.h"
#include "gemm_bits.h"

namespace sterna {
namespace {

// tables[mask][sign][w]: in how many bits of the mask sign and w differ.
struct CountTables {
  uint8_t counts[16][16][16];
};
constexpr CountTables MakeCountTables() {
  CountTables tables = {};
  for (int mask = 0; mask < 16; ++mask) {
    for (int sign = 0; sign < 16; ++sign) {
      for (int w = 0; w < 16; ++w) {
        for (int bit = 0; bit < 4; ++bit) tables.counts[mask][sign][w] = static_cast<uint8_t>(tables.counts[mask][sign][w] + ((mask & (sign ^ w)) >> bit & 1));
      }
    }
  }
  return tables;
}
alignas(64) constexpr CountTables kCountTables = MakeCountTables();

template <typename V, Bits kKind>
struct LookupCore {
  using Vector = V;
  using Int = typename V::Int;
  static constexpr Bits kBits = kKind;
  static constexpr bool kGated = false;
  static constexpr size_t kWidth = V::kBytes;
  static constexpr int kPlanes = kBits == Bits::kTernary ? 2 : 1;
  // Eight accumulators, two to four vectors of nibbles, a table, a count and the mask of nibbles, of 16 registers.
  static constexpr int kVectors = 2;
  static constexpr int kRows[] = {8, 4};
  static constexpr size_t kSteps = 8;  // of a word
  static constexpr size_t kByteWords = kPlanes == 2 ? 3 : 7, kShortFlushes = kPlanes == 2 ? 336 : 288;

  // Byte j of the words of all channels, vector by vector, then byte j + 1.
  static void PutWord(const WordAt& at, uint32_t word, void* panel) {
    for (size_t j = 0; j < 4; ++j) {
      static_cast<uint8_t*>(panel)[(((at.word * 4 + j) * at.vectors + at.vector) * kPlanes + at.plane) * kWidth + at.channel] = static_cast<uint8_t>(word >> 8 * j);
    }
  }

  // Offsets of tables, step by step.
  static size_t BlockScratch(size_t rows, size_t words) { return RoundUp(rows * words * kSteps * sizeof(uint16_t), 64); }
  static void PrepareRows(const GemmBitsArgs& args, size_t first, size_t rows, void* prepared) {
    uint16_t* out = static_cast<uint16_t*>(prepared);
    for (size_t i = first; i < first + rows; ++i, out += args.words * kSteps) {
      const uint32_t* sign = args.sign + i * args.a_stride;
      const uint32_t* mask = kBits == Bits::kBinary ? nullptr : args.mask + i * args.a_stride;
      for (size_t p = 0; p < args.words; ++p) V::StoreOffsets(sign[p], mask != nullptr ? mask[p] : ~0u, out + p * kSteps);
    }
  }

  template <int kRows, int kVectors>
  using Shorts = uint16_t[kRows * kVectors * kWidth];

  // Looks up `words` words, at most kByteWords, and adds the counts to sums of 16 bits.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void CountWords(const uint16_t* offsets, size_t stride, const uint8_t* w, size_t words, Shorts<kRows, kVectors>& shorts) {
    const uint8_t* tables = &kCountTables.counts[0][0][0];
    Int acc[kRows * kVectors];
#pragma GCC unroll 12
    for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::Zero();
    for (size_t pair = words * kSteps / 2; pair != 0; --pair, offsets += 2, w += kVectors * kPlanes * kWidth) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        Int four[kVectors * kPlanes];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors * kPlanes; ++v) four[v] = half == 0 ? V::LowNibbles(V::LoadInt(w + v * kWidth)) : V::HighNibbles(V::LoadInt(w + v * kWidth));
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
          const Int table = V::LoadTable(tables + offsets[i * stride + half]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors * kPlanes; ++v) {
            Int& count = acc[i * kVectors + v / kPlanes];
            count = V::AddU8(count, V::LookUp(table, four[v]));
            V::Settle(count);
          }
        }
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < kRows * kVectors; ++i) V::AddBytesTo(acc[i], shorts + i * kWidth);
  }

  template <typename Gemm, int kRows, int kVectors>
  static inline __attribute__((always_inline)) void Tile(const typename Gemm::Job& job, const typename Gemm::Place& at) {
    constexpr int kInts = static_cast<int>(kWidth / V::kLanes);
    const size_t words = job.args->words, stride = words * kSteps;
    const uint16_t* offsets = static_cast<const uint16_t*>(job.rows) + at.row * stride;
    const uint8_t* w = at.w;
    Int sums[kRows * kVectors * kInts];
    for (Int& sum : sums) sum = V::Zero();
    for (size_t done = 0; done < words;) {
      Shorts<kRows, kVectors> shorts = {};
      for (size_t flushes = kShortFlushes; flushes != 0 && done < words; --flushes) {
        const size_t count = words - done < kByteWords ? words - done : kByteWords;
        CountWords<kRows, kVectors>(offsets, stride, w, count, shorts);
        done += count, offsets += count * kSteps, w += count * 4 * kVectors * kPlanes * kWidth;
      }
      for (int i = 0; i < kRows * kVectors * kInts; ++i) sums[i] = V::AddInt(sums[i], V::WidenShorts(shorts + i * V::kLanes));
    }
    for (int i = 0; i < kRows * kVectors; ++i) {
      Int row[kInts];
      for (int j = 0; j < kInts; ++j) row[j] = sums[i * kInts + j];
      typename Gemm::Place place = Gemm::RightOf(Gemm::Below(job, at, i / kVectors), i % kVectors * kWidth);
      Gemm::template FinishCounts<1, kInts>(job, place, row);
    }
  }
};

}  // namespace
}  // namespace sterna
