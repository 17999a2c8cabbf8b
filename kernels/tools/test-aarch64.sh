#!/usr/bin/env bash
# Cross-builds the core for 64-bit Arm and runs its tests under qemu-user: as a Cortex-A72 (ARMv8.0: NEON, and no dot product, so the
# ledger must say that neondot did not run), as a Cortex-A76 (ARMv8.2: both) and as `max` (8-bit matrices too: only the kernels that use
# them, since the others have run by then), at the same time. Emulation proves results, never speed.
# Debian packages: g++-aarch64-linux-gnu qemu-user ninja-build.
#
# Usage: test-aarch64.sh [CPU ...]        STERNA_JOBS: how many compilers at a time; with 1 the CPUs run one after the other
set -euo pipefail
unset STERNA_ISA  # masks instruction sets of the CPU at hand, not of those that are emulated
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=$kernels/../build/aarch64
cpus=("$@")
[[ ${#cpus[@]} -gt 0 ]] || cpus=(cortex-a72 cortex-a76 max)

generator=()
command -v ninja > /dev/null && generator=(-G Ninja)
cmake -S "$kernels" -B "$build" "${generator[@]}" --toolchain "$kernels/cmake/aarch64.cmake" -DCMAKE_BUILD_TYPE=Release -DSTERNA_NODE=OFF > "$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 1; }
cmake --build "$build" --target sterna_kernel_tests -j "${STERNA_JOBS:-$(nproc)}" > "$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }

mapfile -t isas < <(sed -n 's/^sterna_isa(\([a-z0-9]*\) ARCH aarch64.*/\1/p' "$kernels/isa/isa.cmake")
status=0
for isa in "${isas[@]}"; do
  mapfile -t objects < <(find "$build/CMakeFiles/sterna_isa_$isa.dir" -name "$isa.cpp.o")
  "$kernels/tools/check-isa-symbols.sh" aarch64-linux-gnu-nm "$isa" "${objects[@]}" || status=1
done
# The units of fewer than eight bits are NEON's: what a Cortex-A72 has proved need not run on the others.
few_bits=(gemm_w46 gemm_u4u4 gemm_bnn gemm_tbn gemm_tnn bit_planes)
run_tests() {
  local parts=()
  case $1 in
    cortex-a76) parts=("${few_bits[@]/#/-}") ;;
    max) parts=(gemm_q8 peak_loops) ;;
  esac
  STERNA_EMULATED=1 qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$1" "$build/sterna_kernel_tests" "${parts[@]}" > "$build/$1.txt" || { echo "$1: tests failed" >&2; return 1; }
}
jobs=()
for cpu in "${cpus[@]}"; do
  if [[ ${STERNA_JOBS:-0} == 1 ]]; then
    run_tests "$cpu" || status=1
    continue
  fi
  run_tests "$cpu" &
  jobs+=($!)
done
for i in "${!cpus[@]}"; do
  [[ -z ${jobs[i]:-} ]] || wait "${jobs[i]}" || status=1
  echo "== ${cpus[i]}"
  cat "$build/${cpus[i]}.txt"
done

# The ledger: a kernel that this CPU offers and that did not run is a failure, not a skip.
expect() { grep -q "^ledger $2: $3" "$build/$1.txt" || { echo "$1: expected $2 to be \"$3\"" >&2; status=1; }; }
for cpu in "${cpus[@]}"; do
  if [[ $cpu == max ]]; then
    for isa in "${isas[@]}"; do expect "$cpu" "gemm_q8/$isa" emulated; expect "$cpu" "peak/$isa" emulated; done
    continue
  fi
  for unit in "$kernels"/families/*/neon.cpp; do
    family=$(basename "$(dirname "$unit")")
    [[ $cpu == cortex-a76 && " ${few_bits[*]} " == *" $family "* ]] || expect "$cpu" "$family/neon" emulated
  done
  for family in gemm_q8 dwconv_q8; do
    case $cpu in
      cortex-a53 | cortex-a72) expect "$cpu" "$family/neondot" "not run: CPU or operating system lacks asimddp" ;;
      *) expect "$cpu" "$family/neondot" emulated ;;
    esac
  done
  case $cpu in
    cortex-a53 | cortex-a72) expect "$cpu" gemm_q8/neoni8mm "not run: CPU or operating system lacks asimddp, i8mm" ;;
    *) expect "$cpu" gemm_q8/neoni8mm "not run: CPU or operating system lacks i8mm" ;;
  esac
done
exit $status
