// Any other architecture runs ref.
#if !defined(__x86_64__) && !defined(__aarch64__)
#include "sterna/registry.h"

namespace sterna {

const CpuInfo& DetectCpu() {
  static const CpuInfo info{"other", "unknown", {}};
  return info;
}

}  // namespace sterna
#endif
