#!/usr/bin/env bash
# Cross-builds the core for 64-bit Arm and runs its tests under qemu-user: as a Cortex-A72 (ARMv8.0: NEON, and no dot product, so the
# ledger must say that neondot did not run), as a Cortex-A76 (ARMv8.2: both) and as `max` (8-bit matrices too: only the kernels that use
# them, since the others have run by then). Emulation proves results, never speed.
# Debian packages: g++-aarch64-linux-gnu qemu-user ninja-build.
#
# Usage: test-aarch64.sh [CPU ...]
set -euo pipefail
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=$kernels/../build/aarch64
cpus=("$@")
[[ ${#cpus[@]} -gt 0 ]] || cpus=(cortex-a72 cortex-a76 max)

generator=()
command -v ninja > /dev/null && generator=(-G Ninja)
cmake -S "$kernels" -B "$build" "${generator[@]}" --toolchain "$kernels/cmake/aarch64.cmake" -DCMAKE_BUILD_TYPE=Release -DSTERNA_NODE=OFF > "$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 1; }
cmake --build "$build" -j "$(nproc)" > "$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }

status=0
for isa in neon neondot neoni8mm; do
  mapfile -t objects < <(find "$build/CMakeFiles/sterna_isa_$isa.dir" -name "$isa.cpp.o")
  "$kernels/tools/check-isa-symbols.sh" aarch64-linux-gnu-nm "$isa" "${objects[@]}" || status=1
done
for cpu in "${cpus[@]}"; do
  echo "== $cpu"
  parts=("")
  [[ $cpu != max ]] || parts=(gemm_q8 peak_loops)
  for part in "${parts[@]}"; do
    STERNA_EMULATED=1 qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$cpu" "$build/sterna_kernel_tests" ${part:+"$part"} || { echo "$cpu: ${part:-tests} failed" >&2; status=1; }
  done > "$build/$cpu.txt"
  cat "$build/$cpu.txt"
done

# The ledger: a kernel that this CPU offers and that did not run is a failure, not a skip.
expect() { grep -q "^ledger $2: $3" "$build/$1.txt" || { echo "$1: expected $2 to be \"$3\"" >&2; status=1; }; }
for cpu in "${cpus[@]}"; do
  if [[ $cpu == max ]]; then
    for isa in neon neondot neoni8mm; do expect "$cpu" "gemm_q8/$isa" emulated; expect "$cpu" "peak/$isa" emulated; done
    continue
  fi
  for family in gemm_q8 dwconv_q8 gemm_f32 dwconv_f32 vector; do expect "$cpu" "$family/neon" emulated; done
  expect "$cpu" peak/neon emulated
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
