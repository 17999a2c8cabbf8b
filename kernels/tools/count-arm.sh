#!/usr/bin/env bash
# Instructions per multiply-add of the Arm GEMM kernels, counted under qemu-user: exact, and not times (for those of the inner loops, as a model
# estimates them, mca.sh).
# Debian packages: gcc qemu-user g++-aarch64-linux-gnu. Build first: kernels/tools/test-aarch64.sh, or preset aarch64.
#
# Usage: count-arm.sh [CPU [K]]        CPU: cortex-a53 | cortex-a72 (default) | cortex-a76 | max; K: 576
#
# Two lots of calls of one kernel in gemm_count_bench; their difference has neither start nor exit of the program in it. A is packed once however
# wide the product is, so what 96 channels more cost is the tiles alone: "tiles" has the epilogue in and packing out, "all" has both in.
set -euo pipefail
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=$kernels/../build/aarch64
cpu=${1:-cortex-a72} k=${2:-576}
m=192 n=96 runs=2
[[ -x $build/gemm_count_bench ]] || { echo "count-arm.sh: $build/gemm_count_bench is not built" >&2; exit 1; }
plugin=$build/count_instructions.so
gcc -O2 -shared -fPIC -o "$plugin" "$kernels/tools/count_instructions.c"

# FAMILY N RUNS
count() {
  qemu-aarch64 -plugin "$plugin" -L /usr/aarch64-linux-gnu -cpu "$cpu" "$build/gemm_count_bench" "$1" "$m" "$2" "$k" "$3" 2>&1 | awk '/^[0-9]+ instructions$/ { print $1 }'
}

for family in gemm_q8 gemm_w46 gemm_u4u4 gemm_tnn gemm_tbn gemm_bnn; do
  narrow=$((($(count "$family" "$n" $((2 * runs))) - $(count "$family" "$n" "$runs")) / runs))
  wide=$((($(count "$family" $((2 * n)) $((2 * runs))) - $(count "$family" $((2 * n)) "$runs")) / runs))
  awk -v family="$family" -v cpu="$cpu" -v all="$narrow" -v tiles=$((wide - narrow)) -v macs=$((m * n * k)) \
    'BEGIN { printf "%-9s %s  tiles %.4f  all %.4f instructions a MAC\n", family, cpu, tiles / macs, all / macs }'
done
