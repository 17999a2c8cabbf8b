// CPU features on 64-bit Arm: the kernel's hardware capabilities (Linux Documentation/arch/arm64/elf_hwcaps.rst).
#if defined(__aarch64__)
#include <cstdio>
#include <cstring>

#include "sterna/registry.h"
#if defined(__linux__)
#include <sys/auxv.h>
#endif

namespace sterna {
#if defined(__linux__)
namespace {

constexpr unsigned long kHwcapAsimd = 1ul << 1, kHwcapAsimdDp = 1ul << 20, kHwcap2I8mm = 1ul << 13;

// /proc/cpuinfo names implementer and part by number; the device tree names the board.
std::string Model() {
  char text[128] = {};
  FILE* file = std::fopen("/proc/device-tree/model", "re");
  if (file != nullptr) {
    const size_t length = std::fread(text, 1, sizeof(text) - 1, file);
    std::fclose(file);
    text[length] = '\0';
  }
  return text[0] != '\0' ? text : "unknown aarch64";
}

}  // namespace

CpuInfo QueryCpu() {
  CpuInfo info{"aarch64", Model(), {}};
  const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  if (caps & kHwcapAsimd) info.features.emplace_back("asimd");
  if (caps & kHwcapAsimdDp) info.features.emplace_back("asimddp");
  if (caps2 & kHwcap2I8mm) info.features.emplace_back("i8mm");
  return info;
}
#else
// Every 64-bit Arm core outside Linux that a compiler of today targets (Apple silicon) has both.
CpuInfo QueryCpu() { return {"aarch64", "aarch64", {"asimd", "asimddp"}}; }
#endif

}  // namespace sterna
#endif
