#include "sterna/registry.h"

#include <cstdlib>
#include <cstring>

namespace sterna {
namespace {

std::vector<std::string> Split(const char* text, char separator) {
  std::vector<std::string> parts;
  for (const char* p = text; *p != '\0';) {
    const char* end = std::strchr(p, separator);
    const size_t length = end != nullptr ? static_cast<size_t>(end - p) : std::strlen(p);
    if (length > 0) parts.emplace_back(p, length);
    p += length + (end != nullptr ? 1 : 0);
  }
  return parts;
}

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  for (const std::string& entry : list) {
    if (entry == item) return true;
  }
  return false;
}

bool Masked(const char* isa) {
  const char* allowed = std::getenv("STERNA_ISA");
  if (allowed == nullptr || *allowed == '\0' || std::strcmp(isa, "ref") == 0) return false;
  return !Contains(Split(allowed, ','), isa);
}

// Empty when the CPU offers all that the row needs.
std::string MissingFeatures(const IsaRow& row) {
  std::string missing;
  for (const std::string& feature : Split(row.features, ' ')) {
    if (Contains(DetectCpu().features, feature)) continue;
    missing += missing.empty() ? feature : ", " + feature;
  }
  return missing;
}

IsaStatus StatusOf(const IsaRow& row) {
  const char* isa = row.kernels.isa;
  const bool other_arch = std::strcmp(row.arch, "any") != 0 && std::strcmp(row.arch, DetectCpu().arch) != 0;
  if (other_arch) return {isa, false, false, std::string("for ") + row.arch};
  const std::string missing = MissingFeatures(row);
  if (!missing.empty()) return {isa, row.built, false, "CPU or operating system lacks " + missing};
  if (!row.built) return {isa, false, false, "not built"};
  if (Masked(isa)) return {isa, true, false, "masked by STERNA_ISA"};
  return {isa, true, true, "runnable"};
}

size_t BestIndex() {
  size_t best = 0;
  for (size_t i = 0; i < kIsaRowCount; ++i) {
    if (StatusOf(kIsaRows[i]).runnable) best = i;
  }
  return best;
}

// Overwrites the members of `set` that `row` has for the set's activation type.
void Overlay(const IsaKernels& row, KernelSet* set) {
  const bool same_type = row.activation == static_cast<uint8_t>(set->activation);
#define STERNA_TAKE_TYPED(family, Kernel) \
  if (same_type && row.family != nullptr) set->family = row.family;
#define STERNA_TAKE(family, Kernel) \
  if (row.family != nullptr) set->family = row.family;
  STERNA_FAMILIES(STERNA_TAKE_TYPED, STERNA_TAKE, STERNA_NO_FAMILY)
#undef STERNA_TAKE_TYPED
#undef STERNA_TAKE
}

}  // namespace

const CpuInfo& DetectCpu() {
  static const CpuInfo info = QueryCpu();
  return info;
}

std::vector<IsaStatus> DescribeIsas() {
  std::vector<IsaStatus> all;
  const size_t best = BestIndex();
  for (size_t i = 0; i < kIsaRowCount; ++i) {
    all.push_back(StatusOf(kIsaRows[i]));
    if (!all.back().runnable) continue;
    all.back().reason = i == best ? "selected" : std::string("slower than ") + kIsaRows[best].kernels.isa;
  }
  return all;
}

const IsaRow& BestIsa() { return kIsaRows[BestIndex()]; }

KernelSet RefKernels(DType activation) {
  KernelSet set{};
  set.isa = "ref", set.activation = activation, set.beaten = "";
#define STERNA_TAKE_TYPED(family, Kernel) set.family = activation == DType::kS8 ? &sterna_##family##_ref_s8 : &sterna_##family##_ref_u8;
#define STERNA_TAKE(family, Kernel) set.family = &sterna_##family##_ref;
  STERNA_FAMILIES(STERNA_TAKE_TYPED, STERNA_TAKE, STERNA_NO_FAMILY)
#undef STERNA_TAKE_TYPED
#undef STERNA_TAKE
  return set;
}

bool KernelSet::Wins(const char* family) const { return std::strcmp(isa, "ref") != 0 && !Contains(Split(beaten, ' '), family); }

Status SelectKernels(const char* isa, DType activation, KernelSet* kernels) {
  size_t chosen = kIsaRowCount;
  if (isa == nullptr) chosen = BestIndex();
  for (size_t i = 0; isa != nullptr && i < kIsaRowCount; ++i) {
    if (std::strcmp(kIsaRows[i].kernels.isa, isa) == 0 && StatusOf(kIsaRows[i]).runnable) chosen = i;
  }
  if (chosen == kIsaRowCount) return Status::Error(StatusCode::kUnsupportedIsa, "the requested instruction set cannot run here");
  *kernels = RefKernels(activation);
  for (size_t i = 1; i <= chosen; ++i) {
    if (StatusOf(kIsaRows[i]).runnable) Overlay(kIsaRows[i].kernels, kernels);
  }
  kernels->isa = kIsaRows[chosen].kernels.isa;
  kernels->beaten = kIsaRows[chosen].beaten;
  return Status::Ok();
}

const KernelSet& BestKernels() {
  static const KernelSet best = [] {
    KernelSet kernels{};
    (void)SelectKernels(nullptr, static_cast<DType>(BestIsa().kernels.activation), &kernels);  // ref always runs
    return kernels;
  }();
  return best;
}

}  // namespace sterna
