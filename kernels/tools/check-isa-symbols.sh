#!/bin/sh
# Usage: check-isa-symbols.sh NM ISA OBJECT...
# Rule K4: an ISA object defines exactly one global symbol, sterna_<family>_<isa>, and no weak one. An inline function of a
# shared header that an AVX-512 object defined as a weak symbol would be linked into the portable path, and die there.
set -eu
nm=$1
isa=$2
shift 2
status=0
for object in "$@"; do
  # <dir>/families/<family>/<isa>.cpp.o
  family=$(basename "$(dirname "$object")")
  expected="sterna_${family}_${isa}"
  actual=$("$nm" --defined-only --extern-only --format=posix "$object" | awk '{print $1, $2}')
  names=$(printf '%s\n' "$actual" | awk '{print $1}')
  weak=$(printf '%s\n' "$actual" | awk '$2 ~ /^[wWvVu]$/ {print $1}')
  if [ "$names" != "$expected" ] || [ -n "$weak" ]; then
    echo "$object: expected exactly the symbol $expected but it defines:" >&2
    printf '%s\n' "$actual" | sed 's/^/  /' >&2
    status=1
  fi
done
exit $status
