// Element-wise kernels over a byte vector Q (isa/x86/q8_*.h) and a float vector F (isa/x86/vec_*.h).
//
// The 8-bit kernels and those of one float operation equal ref bit for bit. exp is within kExpUlps and sigmoid within
// kSigmoidUlps (kernel.h), denormal results included; beyond the range of float exp is 0 or inf. NaN gives NaN. Arithmetic limits the speed of
// these two, memory that of the rest.
// Reads and writes exactly n elements: the last, incomplete vector goes through a copy or a mask.
// Three planes of bytes become pixels by 9 pshufb for 16.
#pragma once
#include "kernel.h"
#include "isa/exp_f32.h"
#include "isa/x86/map_x86.h"
#include "isa/x86/requant_x86.h"

namespace sterna {
namespace {

template <typename Q, typename F>
struct Elementwise {
  using Int = typename Q::Int;
  using Reg = typename F::Reg;
  static constexpr size_t kBytes = Q::kBytes, kLanes = F::kLanes;

  // y[i] = op(a[i], b[i]), a register at a time.
  template <typename Op>
  static inline __attribute__((always_inline)) void MapFloats(size_t n, const float* a, const float* b, float* y, Op op) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) F::Store(y + i, op(F::Load(a + i), F::Load(b + i)));
    if (i == n) return;
    const typename F::Mask mask = F::MakeMask(n - i);
    F::StorePart(y + i, mask, op(F::LoadPart(a + i, mask), F::LoadPart(b + i, mask)));
  }

  static void Lut(size_t n, const uint8_t* x, const uint8_t* table, uint8_t* y) {
    MapBytes<Q>(n, x, x, y, [table](Int v, Int) { return Q::Lookup(table, v); });
  }

  static void Add(const AddQ8Args* args) {
    const AddQ8Args& s = *args;
    const typename Q::Weigher weigh_a = Q::MakeWeigher(s.a_zp, s.a_mul), weigh_b = Q::MakeWeigher(s.b_zp, s.b_mul);
    const typename Q::Narrower out = Q::MakeNarrower(s.y_lo, s.y_hi, s.y_zp);
    MapBytes<Q>(s.n, s.a, s.b, s.y, [&](Int av, Int bv) { return AddBytes<Q>(weigh_a, weigh_b, out, av, bv); });
  }

  static inline Int QuantizeBlock(const float* x, Reg scale, const typename Q::Narrower& out) {
    return Q::InVectorOrder(Q::Narrow(out, F::Div(F::Load(x), scale), F::Div(F::Load(x + kLanes), scale),
                                      F::Div(F::Load(x + 2 * kLanes), scale), F::Div(F::Load(x + 3 * kLanes), scale)));
  }

  static void Quantize(size_t n, const float* x, uint8_t* y, float scale, int32_t zp) {
    const typename Q::Narrower out = Q::MakeNarrower(0, 255, zp);
    const Reg divisor = F::Set(scale);
    size_t i = 0;
    for (; i + kBytes <= n; i += kBytes) Q::StoreInt(y + i, QuantizeBlock(x + i, divisor, out));
    if (i == n) return;
    float last[kBytes] = {};
    for (size_t l = 0; l < n - i; ++l) last[l] = x[i + l];
    Q::template StoreParts<1>(QuantizeBlock(last, divisor, out), 1, Q::MakeMask(n - i), y + i, 0);
  }

  static void Dequantize(size_t n, const uint8_t* x, float* y, float scale, int32_t zp) {
    const Reg factor = F::Set(scale);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) F::Store(y + i, F::Mul(F::FromBytes(x + i, zp), factor));
    if (i == n) return;
    uint8_t last[kLanes] = {};
    for (size_t l = 0; l < n - i; ++l) last[l] = x[i + l];
    F::StorePart(y + i, F::MakeMask(n - i), F::Mul(F::FromBytes(last, zp), factor));
  }

  static void AddF32(size_t n, const float* a, const float* b, float* y) {
    MapFloats(n, a, b, y, [](Reg av, Reg bv) { return F::Add(av, bv); });
  }

  static void MulF32(size_t n, const float* a, const float* b, float* y) {
    MapFloats(n, a, b, y, [](Reg av, Reg bv) { return F::Mul(av, bv); });
  }

  static void ClampF32(size_t n, const float* x, float* y, float lo, float hi) {
    const Reg low = F::Set(lo), high = F::Set(hi);
    MapFloats(n, x, x, y, [low, high](Reg v, Reg) { return F::Min(high, F::Max(low, v)); });
  }

  static inline Reg Exp(Reg x) { return ExpOf<F>(x); }

  static void ExpF32(size_t n, const float* x, float* y) {
    MapFloats(n, x, x, y, [](Reg v, Reg) { return Exp(v); });
  }

  // 1 / (1 + e^-x), written with e^-|x| so that nothing overflows or cancels.
  static void SigmoidF32(size_t n, const float* x, float* y) {
    MapFloats(n, x, x, y, [](Reg v, Reg) {
      const Reg e = Exp(F::MinusAbs(v)), one = F::Set(1.0f);
      return F::Div(F::SelectLess(v, F::Set(0.0f), e, one), F::Add(one, e));
    });
  }

  // min and max return their second operand for NaN.
  static inline Reg HardGate(Reg x, Reg alpha, Reg beta) {
    return F::Min(F::Set(1.0f), F::Max(F::Set(0.0f), F::Add(F::Mul(x, alpha), beta)));
  }

  static void HardSigmoidF32(size_t n, const float* x, float* y, float alpha, float beta) {
    const Reg slope = F::Set(alpha), offset = F::Set(beta);
    MapFloats(n, x, x, y, [slope, offset](Reg v, Reg) { return HardGate(v, slope, offset); });
  }

  static void HardSwishF32(size_t n, const float* x, float* y, float alpha, float beta) {
    const Reg slope = F::Set(alpha), offset = F::Set(beta);
    MapFloats(n, x, x, y, [slope, offset](Reg v, Reg) { return F::Mul(v, HardGate(v, slope, offset)); });
  }

  // The bytes at 3 i + kPlane of block kBlock of three, from 16 bytes of plane kPlane; elsewhere zeros.
  template <int kBlock, int kPlane>
  static inline __m128i Spread(__m128i plane) {
    alignas(16) static constexpr auto kFrom = [] {
      struct { uint8_t at[16]; } from{};
      for (int i = 0; i < 16; ++i) from.at[i] = (16 * kBlock + i) % 3 == kPlane ? (16 * kBlock + i) / 3 : 0x80;
      return from;
    }();
    return _mm_shuffle_epi8(plane, _mm_load_si128(reinterpret_cast<const __m128i*>(kFrom.at)));
  }

  static inline void Interleave16(const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y) {
    const __m128i av = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a)), bv = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
    const __m128i cv = _mm_loadu_si128(reinterpret_cast<const __m128i*>(c));
    __m128i* out = reinterpret_cast<__m128i*>(y);
    _mm_storeu_si128(out, _mm_or_si128(_mm_or_si128(Spread<0, 0>(av), Spread<0, 1>(bv)), Spread<0, 2>(cv)));
    _mm_storeu_si128(out + 1, _mm_or_si128(_mm_or_si128(Spread<1, 0>(av), Spread<1, 1>(bv)), Spread<1, 2>(cv)));
    _mm_storeu_si128(out + 2, _mm_or_si128(_mm_or_si128(Spread<2, 0>(av), Spread<2, 1>(bv)), Spread<2, 2>(cv)));
  }

  static void Interleave3(size_t n, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) Interleave16(a + i, b + i, c + i, y + 3 * i);
    for (; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
  }

  static void Interleave3F32(size_t n, const float* a, const float* b, const float* c, float* y) {
    size_t i = 0;
    for (; i + F::kInterleaves <= n; i += F::kInterleaves) F::Interleave3(a + i, b + i, c + i, y + 3 * i);
    for (; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
  }

  static constexpr ElementwiseKernels Kernels(const char* name) {
    return {name, Lut, Add, Quantize, Dequantize, AddF32, MulF32, ClampF32, SigmoidF32, ExpF32, HardSigmoidF32, HardSwishF32, Interleave3, Interleave3F32};
  }
};

}  // namespace
}  // namespace sterna
