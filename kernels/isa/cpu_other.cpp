// Any other architecture runs ref.
#if !defined(__x86_64__) && !defined(__aarch64__)
#include "sterna/registry.h"

namespace sterna {

CpuInfo QueryCpu() { return {"other", "unknown", {}}; }

}  // namespace sterna
#endif
