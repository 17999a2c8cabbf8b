// THE table of kernel families. A row names the folder families/<family>/ and the type of its descriptor, which the folder's kernel.h declares.
// The build, the registry, the tables of the ISAs and the tests' ledger follow from it (README.md, "How to add a kernel family").
//
//   TYPED    computes on 8-bit activations: a program gets kernels of its own activation type only. The references are
//            sterna_<family>_ref_u8 and sterna_<family>_ref_s8.
//   UNTYPED  does not depend on the activation type. The reference is sterna_<family>_ref.
//   MEASURED computes nothing for a program: no reference and no fallback, and it makes no ISA alone.
#pragma once

// clang-format off
#define STERNA_FAMILIES(TYPED, UNTYPED, MEASURED) \
  TYPED(gemm_q8, GemmQ8Kernel) \
  TYPED(dwconv_q8, DwConvQ8Kernel) \
  UNTYPED(gemm_f32, GemmF32Kernel) \
  UNTYPED(dwconv_f32, DwConvF32Kernel) \
  TYPED(elementwise, ElementwiseKernels) \
  TYPED(pool, PoolKernels) \
  UNTYPED(unary_f32, UnaryF32Kernels) \
  UNTYPED(rows_f32, RowsF32Kernels) \
  UNTYPED(audio, AudioKernels) \
  TYPED(gemm_w46, GemmNarrowKernel) \
  TYPED(gemm_u4u4, GemmNarrowKernel) \
  TYPED(gemm_bnn, GemmBitsKernel) \
  TYPED(gemm_tbn, GemmBitsKernel) \
  TYPED(gemm_tnn, GemmBitsKernel) \
  TYPED(bit_planes, BitPlaneKernels) \
  UNTYPED(cell_cosine, CellCosineKernel) \
  UNTYPED(gemm_f32w4, GemmF32W4Kernel) \
  UNTYPED(dots_s8, DotsS8Kernel) \
  MEASURED(peak, PeakKernel)
// clang-format on

#define STERNA_NO_FAMILY(family, Kernel)

namespace sterna {

#define STERNA_DECLARE_KERNEL(family, Kernel) struct Kernel;
STERNA_FAMILIES(STERNA_DECLARE_KERNEL, STERNA_DECLARE_KERNEL, STERNA_DECLARE_KERNEL)
#undef STERNA_DECLARE_KERNEL

}  // namespace sterna
