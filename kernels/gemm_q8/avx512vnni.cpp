// gemm_q8/avx512vnni: quantized GEMM on vpdpbusd.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        bit-equal to ref for all inputs
//
// Tile: up to 6 rows x 64 channels, 8 x 48, 12 x 32 or 12 x 16. The widest three keep 24 accumulators of 16 channels in
// registers, beside 2..4 vectors of weights and one broadcast of four activations: 28 or 29 of 32 registers, 10..14 loads
// for 24 vpdpbusd, which two load ports hide behind two (Zen 5) or one (Zen 4) multiply port. Everything over the tile is
// unrolled by templates; rolled, the compiler would spill the accumulators.
// A panel of weights stays in L1/L2 while a block of rows streams past it.
// Preconditions: rows of A may be read up to 3 bytes past k; packed by Pack; scale arrays padded to 64 entries.
// vpdpbusd does not saturate and the sums wrap modulo 2^32 like ref's.
#include <immintrin.h>

#include "../x86/requant_avx512.h"
#include "pack_x86.h"

namespace sterna {
namespace {

constexpr size_t kLanes = 16, kMaxVectors = 4, kDepth = 4;
constexpr size_t kBlockBytes = 32 * 1024;  // of A: what shares L1 with a strip of a panel

PackQ8Shape ShapeOf(size_t n, size_t k) { return {n, k, kLanes, kMaxVectors, kDepth}; }

size_t PackedBytes(size_t n, size_t k) { return PackedQ8Bytes(ShapeOf(n, k)); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackQ8(ShapeOf(n, k), w, bias, a_zp, packed);
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

struct Job {
  Requant512 requant;
  size_t steps;  // ceil(k / 4)
  size_t a_stride, y_stride;
};

// A panel of kVectors * 16 channels, and the rows that one call works on.
struct Place {
  const int8_t* w;
  const int32_t* bias;
  size_t channel;  // the first
  __mmask64 mask;  // those that exist
  const uint8_t* a;
  uint8_t* y;
  const uint8_t* residual;
};

// Rows that share one narrowed register.
template <int kVectors>
constexpr int kGroupRows = kVectors >= 3 ? 1 : 4 / kVectors;

// bytes: [row 0's channels, row 1's channels, ...], kVectors * 16 each.
template <int kVectors>
inline void StoreRows(__m512i bytes, int rows, __mmask64 mask, uint8_t* y, size_t stride) {
  if constexpr (kVectors >= 3) {
    _mm512_mask_storeu_epi8(y, mask, bytes);
  } else if constexpr (kVectors == 2) {
    _mm256_mask_storeu_epi8(y, static_cast<__mmask32>(mask), _mm512_castsi512_si256(bytes));
    if (rows > 1) _mm256_mask_storeu_epi8(y + stride, static_cast<__mmask32>(mask), _mm512_extracti64x4_epi64(bytes, 1));
  } else {
    const __mmask16 mask16 = static_cast<__mmask16>(mask);
    _mm_mask_storeu_epi8(y, mask16, _mm512_castsi512_si128(bytes));
    if (rows > 1) _mm_mask_storeu_epi8(y + stride, mask16, _mm512_extracti32x4_epi32(bytes, 1));
    if (rows > 2) _mm_mask_storeu_epi8(y + 2 * stride, mask16, _mm512_extracti32x4_epi32(bytes, 2));
    if (rows > 3) _mm_mask_storeu_epi8(y + 3 * stride, mask16, _mm512_extracti32x4_epi32(bytes, 3));
  }
}

template <int kVectors>
inline __m512i LoadRows(int rows, __mmask64 mask, const uint8_t* x, size_t stride) {
  if constexpr (kVectors >= 3) {
    return _mm512_maskz_loadu_epi8(mask, x);
  } else if constexpr (kVectors == 2) {
    const __mmask32 mask32 = static_cast<__mmask32>(mask);
    const __m256i second = rows > 1 ? _mm256_maskz_loadu_epi8(mask32, x + stride) : _mm256_setzero_si256();
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask32, x)), second, 1);
  } else {
    const __mmask16 mask16 = static_cast<__mmask16>(mask);
    __m512i bytes = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(mask16, x));
    if (rows > 1) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(mask16, x + stride), 1);
    if (rows > 2) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(mask16, x + 2 * stride), 2);
    if (rows > 3) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(mask16, x + 3 * stride), 3);
    return bytes;
  }
}

// The vector of a group at position i: of which row, of which channels. Three vectors a row leave a position idle.
template <int kVectors>
constexpr int VectorAt(int i) { return kVectors == 3 && i == 3 ? 2 : i % kVectors; }

// PRelu, tables and residuals: out of line, because a call with everything in registers would not pay.
template <int kVectors>
__attribute__((noinline)) void FinishTile(const Job& job, const Place& at, const __m512i* acc, int rows) {
  constexpr int kStep = kGroupRows<kVectors>;
  const Requant512& r = job.requant;
  const float* scale = r.scale + at.channel;
  const float* scale_neg = (r.scale_neg != nullptr ? r.scale_neg : r.scale) + at.channel;
  for (int row = 0; row < rows; row += kStep, acc += kStep * kVectors) {
    __m512 x[4];
    for (int i = 0; i < 4; ++i) {
      const int v = VectorAt<kVectors>(i);
      const __m512i value = acc[kVectors == 3 ? v : i];
      x[i] = ScaleSigned512(value, _mm512_loadu_ps(scale + v * kLanes), _mm512_loadu_ps(scale_neg + v * kLanes));
    }
    __m512i q = InVectorOrder512(NarrowToU8(r.mid, x[0], x[1], x[2], x[3]));
    __m512i residual = q;
    if (r.residual != nullptr) {
      residual = LoadRows<kVectors>(rows - row, at.mask, at.residual + row * job.requant.residual_stride, job.requant.residual_stride);
    }
    q = FinishBytes512(r, q, residual);
    StoreRows<kVectors>(q, rows - row, at.mask, at.y + row * job.y_stride, job.y_stride);
  }
}

template <int kRows, int kVectors>
inline __attribute__((always_inline)) void NarrowTile(const Job& job, const Place& at, const __m512i (&acc)[kRows * kVectors]) {
  constexpr int kStep = kGroupRows<kVectors>;
  __m512 scale[kVectors];
  for (int v = 0; v < kVectors; ++v) scale[v] = _mm512_loadu_ps(job.requant.scale + at.channel + v * kLanes);
#pragma GCC unroll 12
  for (int row = 0; row < kRows; row += kStep) {
    __m512 x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int v = VectorAt<kVectors>(i), at_row = row + (kVectors == 3 ? 0 : i / kVectors);
      x[i] = Scale512(acc[(at_row < kRows ? at_row : kRows - 1) * kVectors + v], scale[v]);
    }
    const __m512i q = InVectorOrder512(NarrowToU8(job.requant.mid, x[0], x[1], x[2], x[3]));
    StoreRows<kVectors>(q, kRows - row, at.mask, at.y + row * job.y_stride, job.y_stride);
  }
}

inline int32_t LoadFour(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <int kRows, int kVectors>
void Tile(const Job& job, const Place& at) {
  __m512i acc[kRows * kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = _mm512_loadu_si512(at.bias + v * kLanes);
  }
  const uint8_t* a = at.a;
  const int8_t* w = at.w;
  const size_t stride = job.a_stride;
  for (size_t step = job.steps; step != 0; --step, a += kDepth, w += kVectors * kLanes * kDepth) {
    __m512i weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_loadu_si512(w + v * kLanes * kDepth);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const __m512i four = _mm512_set1_epi32(LoadFour(a + i * stride));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = _mm512_dpbusd_epi32(acc[i * kVectors + v], four, weights[v]);
    }
  }
  if (job.requant.plain) return NarrowTile<kRows, kVectors>(job, at, acc);
  __m512i spilled[kRows * kVectors + 3];  // the last group may be shorter than four vectors
  spilled[kRows * kVectors] = spilled[kRows * kVectors + 1] = spilled[kRows * kVectors + 2] = acc[0];
#pragma GCC unroll 24
  for (int i = 0; i < kRows * kVectors; ++i) spilled[i] = acc[i];
  FinishTile<kVectors>(job, at, spilled, kRows);
}

using TileFn = void (*)(const Job&, const Place&);
constexpr size_t kTileRows[kMaxVectors] = {12, 12, 8, 6};  // by vectors - 1
constexpr TileFn kTiles[kMaxVectors][12] = {
    {Tile<1, 1>, Tile<2, 1>, Tile<3, 1>, Tile<4, 1>, Tile<5, 1>, Tile<6, 1>, Tile<7, 1>, Tile<8, 1>, Tile<9, 1>, Tile<10, 1>,
     Tile<11, 1>, Tile<12, 1>},
    {Tile<1, 2>, Tile<2, 2>, Tile<3, 2>, Tile<4, 2>, Tile<5, 2>, Tile<6, 2>, Tile<7, 2>, Tile<8, 2>, Tile<9, 2>, Tile<10, 2>,
     Tile<11, 2>, Tile<12, 2>},
    {Tile<1, 3>, Tile<2, 3>, Tile<3, 3>, Tile<4, 3>, Tile<5, 3>, Tile<6, 3>, Tile<7, 3>, Tile<8, 3>},
    {Tile<1, 4>, Tile<2, 4>, Tile<3, 4>, Tile<4, 4>, Tile<5, 4>, Tile<6, 4>},
};

// `rows` rows of one panel, in tiles.
void RunPanel(const Job& job, Place at, size_t vectors, size_t rows) {
  const Cut tiles = CutEvenly(rows, kTileRows[vectors - 1]);
  for (size_t tile = 0; tile < tiles.parts; ++tile) {
    const size_t count = PartSize(tiles, tile);
    kTiles[vectors - 1][count - 1](job, at);
    at.a += count * job.a_stride;
    at.y += count * job.y_stride;
    if (at.residual != nullptr) at.residual += count * job.requant.residual_stride;
  }
}

// Every panel, for rows [first, first + rows).
void RunBlock(const GemmQ8Args* args, const Job& job, size_t first, size_t rows) {
  const int32_t* bias = static_cast<const int32_t*>(args->packed);
  const int8_t* w = reinterpret_cast<const int8_t*>(bias + RoundUp(args->n, kLanes));
  const uint8_t* residual = args->requant.residual;
  const Cut panels = CutEvenly(CeilDiv(args->n, kLanes), kMaxVectors);
  size_t channel = 0;
  for (size_t panel = 0; panel < panels.parts; ++panel) {
    const size_t vectors = PartSize(panels, panel), left = args->n - channel;
    const size_t columns = left < vectors * kLanes ? left : vectors * kLanes;
    RunPanel(job,
             {w, bias + channel, channel, ~__mmask64{0} >> (64 - columns), args->a + first * args->a_stride,
              args->y + first * args->y_stride + channel,
              residual != nullptr ? residual + first * job.requant.residual_stride + channel : nullptr},
             vectors, rows);
    w += vectors * kLanes * kDepth * job.steps;
    channel += vectors * kLanes;
  }
}

void Run(const GemmQ8Args* args) {
  const Job job = {MakeRequant512(args->requant), CeilDiv(args->k, kDepth), args->a_stride, args->y_stride};
  const size_t fitting = kBlockBytes / (args->k + 1);
  const Cut blocks = CutEvenly(args->m, fitting > 48 ? fitting : 48);
  size_t first = 0;
  for (size_t block = 0; block < blocks.parts; ++block) {
    RunBlock(args, job, first, PartSize(blocks, block));
    first += PartSize(blocks, block);
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni = {"gemm_q8/avx512vnni", sterna::PackedBytes, sterna::Pack,
                                                        sterna::ScratchBytes, sterna::Run};
}
