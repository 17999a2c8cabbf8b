// CPU features on x86-64: cpuid for what the CPU has, xgetbv for the registers that the operating system saves.
#if defined(__x86_64__)
#include <cpuid.h>

#include <cstring>

#include "sterna/registry.h"

namespace sterna {
namespace {

struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Leaf r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

// XCR0: bit 1 xmm, 2 ymm, 5..7 opmask and zmm (Intel SDM vol. 1, 13.3).
uint64_t Xcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

std::string BrandString() {
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Leaf leaf = Cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &leaf, 16);
  }
  std::string brand(text);
  while (!brand.empty() && brand.back() == ' ') brand.pop_back();
  return brand.empty() ? "unknown x86-64" : brand;
}

}  // namespace

CpuInfo QueryCpu() {
  const Leaf one = Cpuid(1), seven = Cpuid(7), seven_one = Cpuid(7, 1);
  const uint64_t saved = (one.c >> 27) & 1 ? Xcr0() : 0;
  const bool ymm = (saved & 0x6) == 0x6;
  const bool zmm = ymm && (saved & 0xe0) == 0xe0;
  struct Row {
    const char* name;
    uint32_t word;
    int bit;
    bool usable;
  };
  const Row rows[] = {
      {"sse4_1", one.c, 19, true},          {"avx2", seven.b, 5, ymm},        {"fma", one.c, 12, ymm},
      {"avx512f", seven.b, 16, zmm},        {"avx512bw", seven.b, 30, zmm},   {"avx512vl", seven.b, 31, zmm},
      {"avx512dq", seven.b, 17, zmm},       {"avx512_vnni", seven.c, 11, zmm}, {"avx512_vbmi", seven.c, 1, zmm},
      {"avx512_vpopcntdq", seven.c, 14, zmm}, {"avx_vnni", seven_one.a, 4, ymm},
  };
  CpuInfo info{"x86_64", BrandString(), {}};
  for (const Row& row : rows) {
    if (row.usable && ((row.word >> row.bit) & 1)) info.features.emplace_back(row.name);
  }
  return info;
}

}  // namespace sterna
#endif
