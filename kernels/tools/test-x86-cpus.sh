#!/usr/bin/env bash
# Runs tests of a native x86-64 build under qemu-user, as CPUs that the machine at hand is not: by default as a Nehalem, which has SSE4.1
# and no AVX, so that an instruction too new anywhere on the way is a SIGILL. One test a family, and whole programs: the others
# prove arithmetic, natively. Emulation proves results, never speed. Debian package: qemu-user.
#
# Usage: test-x86-cpus.sh BUILD [CPU ...]        CPUs without AVX, e.g. Nehalem Westmere. (As a Haswell, qemu 7.2 faults on the lanes
# that vmaskmov leaves out, beside a guard page.)
set -euo pipefail
unset STERNA_ISA  # masks instruction sets of the CPU at hand, not of those that are emulated
build=$1
shift
cpus=("$@")
[[ ${#cpus[@]} -gt 0 ]] || cpus=(Nehalem)
tests=(gemm_q8_is_bit_equal_to_ref_around dwconv_q8_is_bit_equal_to_ref_across gemm_f32_does_not_depend dwconv_f32_is_within
  elementwise_kernels_equal_ref pool_kernels_equal_ref unary_f32_is_within_its_bounds any_number_of_threads)

status=0
for cpu in "${cpus[@]}"; do
  echo "== $cpu"
  for test in "${tests[@]}"; do
    STERNA_EMULATED=1 qemu-x86_64 -cpu "$cpu" "$build/sterna_kernel_tests" "$test" || { echo "$cpu: $test failed" >&2; status=1; }
  done > "$build/$cpu.txt"
  cat "$build/$cpu.txt"
done

# The ledger: a kernel that this CPU offers and that did not run is a failure, not a skip.
expect() { grep -q "^ledger $2: $3" "$build/$1.txt" || { echo "$1: expected $2 to be \"$3\"" >&2; status=1; }; }
for cpu in "${cpus[@]}"; do
  for family in gemm_q8 dwconv_q8 gemm_f32 dwconv_f32 elementwise pool unary_f32; do
    expect "$cpu" "$family/sse41" emulated
    expect "$cpu" "$family/avx2" "not run: CPU or operating system lacks avx2, fma"
  done
done
exit $status
