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
  if (!row.built) return {isa, false, false, "not built"};
  const std::string missing = MissingFeatures(row);
  if (!missing.empty()) return {isa, true, false, "CPU or operating system lacks " + missing};
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
  if (row.activation == static_cast<uint8_t>(set->activation)) {
    if (row.gemm_q8 != nullptr) set->gemm_q8 = row.gemm_q8;
    if (row.dwconv_q8 != nullptr) set->dwconv_q8 = row.dwconv_q8;
    if (row.vector != nullptr) set->vector = row.vector;
    if (row.gemm_w46 != nullptr) set->gemm_w46 = row.gemm_w46;
    if (row.gemm_u4u4 != nullptr) set->gemm_u4u4 = row.gemm_u4u4;
    if (row.gemm_bnn != nullptr) set->gemm_bnn = row.gemm_bnn;
    if (row.gemm_tbn != nullptr) set->gemm_tbn = row.gemm_tbn;
    if (row.gemm_tnn != nullptr) set->gemm_tnn = row.gemm_tnn;
    if (row.bit_planes != nullptr) set->bit_planes = row.bit_planes;
  }
  if (row.gemm_f32 != nullptr) set->gemm_f32 = row.gemm_f32;
  if (row.dwconv_f32 != nullptr) set->dwconv_f32 = row.dwconv_f32;
  if (row.gemm_f32w4 != nullptr) set->gemm_f32w4 = row.gemm_f32w4;
}

}  // namespace

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
  const bool is_signed = activation == DType::kS8;
  return {"ref",
          activation,
          is_signed ? &sterna_gemm_q8_ref_s8 : &sterna_gemm_q8_ref_u8,
          is_signed ? &sterna_dwconv_q8_ref_s8 : &sterna_dwconv_q8_ref_u8,
          &sterna_gemm_f32_ref,
          &sterna_dwconv_f32_ref,
          is_signed ? &sterna_vector_ref_s8 : &sterna_vector_ref_u8,
          is_signed ? &sterna_gemm_w46_ref_s8 : &sterna_gemm_w46_ref_u8,
          is_signed ? &sterna_gemm_u4u4_ref_s8 : &sterna_gemm_u4u4_ref_u8,
          is_signed ? &sterna_gemm_bnn_ref_s8 : &sterna_gemm_bnn_ref_u8,
          is_signed ? &sterna_gemm_tbn_ref_s8 : &sterna_gemm_tbn_ref_u8,
          is_signed ? &sterna_gemm_tnn_ref_s8 : &sterna_gemm_tnn_ref_u8,
          is_signed ? &sterna_bit_planes_ref_s8 : &sterna_bit_planes_ref_u8,
          &sterna_gemm_f32w4_ref,
          ""};
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

}  // namespace sterna
