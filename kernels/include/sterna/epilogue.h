// What an op does to a sum before it becomes an output, and the rules that every kernel keeps. A contract is a plain C struct: an ISA unit
// includes the contract of its family (families/<family>/kernel.h), <cstdint>, <cstddef>, its intrinsics and its own headers, and nothing
// else (rule K4).
//
// 8-bit activations are T* with T = uint8_t when the ISA's activation type is kU8, and int8_t when it is kS8; both travel as uint8_t*.
// Rows of A, residual rows and zero_pixel may be read up to 63 bytes past their end (program.h; what is there may be anything, NaN
// included). Outputs are written exactly, and need not be aligned. `packed` and `scratch` are 64-byte aligned, and their sizes are rounded
// up to 64. m, n and y_width may be 0; k, channels and the kernel's sides may not. Inputs and outputs never overlap.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// The epilogue of ConvQ8Attrs (program.h), per output channel. The arrays hold finite numbers, need not be aligned, and are
// readable up to the next multiple of 64 entries.
struct RequantQ8 {
  const float* scale;
  const float* scale_neg;   // nullptr: none
  int32_t mid_zp, mid_lo, mid_hi;
  const uint8_t* table;     // nullptr: none; 256 entries indexed by the stored byte (the engine reorders signed tables)
  const uint8_t* residual;  // nullptr: none; row i at residual + i * residual_stride
  size_t residual_stride;
  int32_t res_zp, y_zp, y_lo, y_hi;
  float mid_mul, res_mul;
};

// Sums that leave in 32 bits instead of 8: y = sum + offset[o] as int32_t, modulo 2^32, or, where `scale` is given, the float
// float(sum + offset[o]) * scale[o] + bias[o], rounded after each operation. y and y_stride of the arguments count bytes, as always, and are multiples
// of 4. The arrays need not be aligned, and are readable up to the next multiple of 64 entries.
struct WideQ8 {
  const int32_t* offset;  // nullptr: the result is requantized
  const float *scale, *bias;
};

// The epilogue of the float kernels: act(sum + bias), and a residual that is added after act(), or before it where residual_first is set.
// act(): PRelu where slope is given, else a clamp to [lo, hi] (-inf, inf: none).
struct EpilogueF32 {
  const float* bias;   // nullptr: none
  const float* slope;  // nullptr: none
  float lo, hi;
  const float* residual;
  size_t residual_stride;  // floats
  int32_t residual_first;
};

// How far a float kernel may be from the exact result: |error| <= (terms + kErrorTermsF32) * 2^-23 * magnitude. `terms` is the number of
// products that are summed, and magnitude is the sum of |product|, |bias| and |residual|. This holds for every order of summation (Higham,
// Accuracy and Stability of Numerical Algorithms, section 3.1), with and without fused multiply-adds.
constexpr size_t kErrorTermsF32 = 3;

static inline double ErrorBoundF32(size_t terms, double magnitude) {
  return static_cast<double>(terms + kErrorTermsF32) * (1.0 / (1 << 23)) * magnitude;
}

}  // namespace sterna
