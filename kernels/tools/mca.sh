#!/usr/bin/env bash
# What llvm-mca says of the inner loops of the Arm GEMM kernels: products a cycle, and the share of what the core's multipliers alone
# would allow. ESTIMATES from a model of the pipeline, in which every load hits L1: not timings.
# Debian packages: llvm-16 binutils-aarch64-linux-gnu. Build first: kernels/tools/test-aarch64.sh, or preset aarch64.
#
# Usage: mca.sh [FOLDER OF THE BUILD]
#
# For every kernel and core one line: products a pass through the loop; cycles a pass in the steady state; products a cycle and cycles a product; the
# cycles of the loop's multiplications alone (mca's reciprocal throughput of a block of nothing else), and their share. `with sadalp` counts the
# pairwise additions, which sums of two products need, as multiplications: on a core with one unit for both, that is the limit. A cnt stands for
# the multiplications of bits: of 128, or in tnn, which needs two, 64. Kernels of fewer bits: how many times as fast as the 8-bit kernel
# that the core would run otherwise, packing and epilogue left out. LLVM 16 takes Cortex-A57's model for A72 and A76, and Neoverse N2's for A710.
set -euo pipefail
kernels=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$kernels/../build/aarch64}
mca=$(command -v llvm-mca-16 || command -v llvm-mca) || { echo "mca.sh: llvm-mca not found; Debian: apt-get install llvm-16" >&2; exit 1; }

multiply='(smull2?|smlal2?|sdot|smmla|fmla|cnt)'
work="($multiply|[su]adalp)"

# The innermost loop of an object that multiplies most, as assembly. A loop: from the target of a backward branch to the branch.
inner_loop() {
  aarch64-linux-gnu-objdump -d --no-show-raw-insn "$1" | awk -v multiply="^$multiply\$" '
    function close_function(  i, j, n, busy) {
      for (i = 1; i <= count; ++i) {
        if (!(i in goal) || !(goal[i] in line) || line[goal[i]] > i) continue;
        n = 0; busy = 0;
        for (j = line[goal[i]]; j <= i; ++j) { n += name[j] ~ multiply; if (j < i && (j in goal) && (goal[j] in line) && line[goal[j]] <= j) busy = 1; }
        if (!busy && n > best) { best = n; loop = ""; for (j = line[goal[i]]; j <= i; ++j) loop = loop (j < i ? text[j] : name[j] " 0") "\n"; }
      }
      count = 0; delete line; delete goal; delete name; delete text;
    }
    /^[0-9a-f]+ </ { close_function(); next }
    /^ *[0-9a-f]+:\t/ {
      sub(/ *\/\/.*/, ""); split($0, part, "\t"); address = part[1]; gsub(/[ :]/, "", address);
      ++count; line[address] = count; name[count] = part[2]; text[count] = part[2] " " part[3];
      if (part[2] ~ /^(b\.|cb|tb)/ && match(part[3], /[0-9a-f]+ </)) goal[count] = substr(part[3], RSTART, RLENGTH - 2);
    }
    END { close_function(); printf "%s", loop }'
}

# mca CPU ITERATIONS FIELD < assembly
field() {
  "$mca" -march=aarch64 -mcpu="$1" -mattr=+dotprod,+i8mm -iterations="$2" -instruction-info=0 -resource-pressure=0 2> /dev/null |
    awk -F: -v field="$3" '$1 == field { print $2 + 0 }'
}

declare -A int8  # cycles a product, by core

report() {
  local kernel=$1 cpu=$2 assembly=$3 bits=128 macs few many cycles
  [[ $kernel != gemm_tnn/* ]] || bits=64
  macs=$(awk -v bits=$bits '/^(smull|smlal)/ { n += 8 } /^sdot/ { n += 16 } /^smmla/ { n += 32 } /^fmla/ { n += 4 } /^cnt/ { n += bits } END { print n }' <<< "$assembly")
  few=$(field "$cpu" 100 "Total Cycles" <<< "$assembly")
  many=$(field "$cpu" 1100 "Total Cycles" <<< "$assembly")
  cycles=$(awk "BEGIN { print ($many - $few) / 1000 }")
  [[ $kernel != gemm_q8/* ]] || int8[$cpu]=$(awk "BEGIN { print $cycles / $macs }")
  awk -v kernel="$kernel" -v cpu="$cpu" -v macs="$macs" -v cycles="$cycles" -v int8="${int8[$cpu]}" \
    -v limit="$(grep -E "^$multiply " <<< "$assembly" | field "$cpu" 100 "Block RThroughput")" \
    -v work="$(grep -E "^$work " <<< "$assembly" | field "$cpu" 100 "Block RThroughput")" 'BEGIN {
      printf "%-17s %-11s %4d products %7.1f cycles %5.1f a cycle %.4f cycles each   multiplications alone %6.1f cycles: %3.0f %%   with sadalp %6.1f: %3.0f %%",
        kernel, cpu, macs, cycles, macs / cycles, cycles / macs, limit, 100 * limit / cycles, work, 100 * work / cycles
      printf kernel ~ /_(q8|f32)/ ? "\n" : "   int8 x %.2f\n", int8 * macs / cycles }'
}

rows=("gemm_q8/neon cortex-a53" "gemm_q8/neon cortex-a72" "gemm_q8/neondot cortex-a55" "gemm_q8/neondot cortex-a76" "gemm_q8/neoni8mm cortex-a710")
for cpu in cortex-a53 cortex-a72 cortex-a55 cortex-a76 cortex-a710; do
  for family in gemm_w46 gemm_u4u4 gemm_tnn gemm_tbn gemm_bnn; do rows+=("$family/neon $cpu"); done
done
rows+=("gemm_f32/neon cortex-a53" "gemm_f32/neon cortex-a72" "gemm_f32/neon cortex-a76")
for row in "${rows[@]}"; do
  read -r kernel cpu <<< "$row"
  object=$build/CMakeFiles/sterna_isa_${kernel#*/}.dir/families/$kernel.cpp.o
  [[ -f $object ]] || { echo "mca.sh: $object is not built" >&2; exit 1; }
  assembly=$(inner_loop "$object")
  [[ -n $assembly ]] || { echo "mca.sh: no loop that multiplies in $object" >&2; exit 1; }
  report "$kernel" "$cpu" "$assembly"
done
