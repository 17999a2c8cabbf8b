# THE table of instruction sets: what they are built with, and what a CPU must offer to run them.
#
# Rows are ordered from slowest to fastest within an architecture; dispatch takes the last runnable one, and a kernel that
# an ISA does not have is taken from the nearest row above it. FEATURES are the names that isa/<architecture>/cpu.cpp reports.
# ACTIVATION is the 8-bit type that the ISA's kernels take (include/sterna/program.h).
# EMULATED: the tests also run its units at source level, on any x86-64 CPU (cmake/emulation.cmake).
# BEATEN names the families of fewer bits that the ISA's own gemm_q8 outruns, by measurement, or on Arm by llvm-mca's estimate (DECISIONS.md):
# layers of those formats then run on 8 bits.

set(STERNA_ISAS "")

function(sterna_isa name)
  cmake_parse_arguments(ROW "EMULATED" "ARCH;ACTIVATION" "FLAGS;FEATURES;BEATEN" ${ARGN})
  list(APPEND STERNA_ISAS ${name})
  set(STERNA_ISAS ${STERNA_ISAS} PARENT_SCOPE)
  set(STERNA_ISA_${name}_ARCH ${ROW_ARCH} PARENT_SCOPE)
  set(STERNA_ISA_${name}_ACTIVATION ${ROW_ACTIVATION} PARENT_SCOPE)
  set(STERNA_ISA_${name}_FLAGS ${ROW_FLAGS} PARENT_SCOPE)
  set(STERNA_ISA_${name}_FEATURES ${ROW_FEATURES} PARENT_SCOPE)
  set(STERNA_ISA_${name}_BEATEN ${ROW_BEATEN} PARENT_SCOPE)
  set(STERNA_ISA_${name}_EMULATED ${ROW_EMULATED} PARENT_SCOPE)
endfunction()

sterna_isa(ref ARCH any ACTIVATION u8)

sterna_isa(sse41 ARCH x86_64 ACTIVATION u8
  FLAGS -msse4.1
  FEATURES sse4_1)

sterna_isa(avx2 ARCH x86_64 ACTIVATION u8 EMULATED
  FLAGS -mavx2 -mfma
  FEATURES avx2 fma)

# vpdpbusd in the encoding of CPUs that may lack AVX-512 (Alder Lake and later, Zen 5). Float kernels come from avx2.
sterna_isa(avxvnni ARCH x86_64 ACTIVATION u8 EMULATED
  FLAGS -mavx2 -mfma -mavxvnni
  FEATURES avx2 fma avx_vnni
  BEATEN gemm_w46 gemm_u4u4)

# gcc 12's own AVX-512 headers read "undefined" registers in a way that its uninitialized-variable warnings report.
sterna_isa(avx512vnni ARCH x86_64 ACTIVATION u8 EMULATED
  FLAGS -mavx2 -mfma -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi -mavx512vpopcntdq -Wno-uninitialized -Wno-maybe-uninitialized
  FEATURES avx2 fma avx512f avx512bw avx512vl avx512dq avx512_vnni avx512_vbmi avx512_vpopcntdq
  BEATEN gemm_w46 gemm_u4u4)

# The tiles fill the 32 vector registers: scheduling before register allocation would spill them. The pass after it stays on.
sterna_isa(neon ARCH aarch64 ACTIVATION s8
  FLAGS -fno-schedule-insns
  FEATURES asimd)

sterna_isa(neondot ARCH aarch64 ACTIVATION s8
  FLAGS -march=armv8.2-a+dotprod -fno-schedule-insns
  FEATURES asimd asimddp
  BEATEN gemm_w46 gemm_u4u4 gemm_tnn)

# Matrices of 8-bit integers: optional from ARMv8.2 on, mandatory from ARMv8.6 on.
sterna_isa(neoni8mm ARCH aarch64 ACTIVATION s8
  FLAGS -march=armv8.2-a+dotprod+i8mm -fno-schedule-insns
  FEATURES asimd asimddp i8mm
  BEATEN gemm_w46 gemm_u4u4 gemm_tbn gemm_tnn)
