#!/bin/sh
# Usage: check-no-avx.sh OBJDUMP OBJECT...
# Objects that run on any x86-64 CPU, or any with SSE4.1, hold no AVX instruction: no ymm or zmm register, and no mnemonic with the v
# of a VEX or EVEX encoding (verr and verw are older). One that a flag or a header let in would die with SIGILL where nobody tests.
set -eu
objdump=$1
shift
status=0
for object in "$@"; do
  listing=$("$objdump" --disassemble --no-show-raw-insn "$object")
  found=$(printf '%s\n' "$listing" |
    awk -F '\t' 'NF >= 2 && ($2 ~ /^v[a-z0-9]+( |$)/ && $2 !~ /^ver[rw]( |$)/ || $0 ~ /%[yz]mm/) { if (++n <= 3) print $2 }')
  if [ -n "$found" ]; then
    echo "$object: expected no AVX instruction but it has:" >&2
    printf '%s\n' "$found" | sed 's/^/  /' >&2
    status=1
  fi
done
exit $status
