// Which kernels this build has, which of them this CPU runs, and which ones a program gets (rule K5).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sterna/isa_tables.h"
#include "sterna/microkernel.h"
#include "sterna/program.h"
#include "sterna/status.h"

namespace sterna {

struct CpuInfo {
  const char* arch;  // "x86_64", "aarch64" or "other"
  std::string model;
  std::vector<std::string> features;  // of those that isa/isa.cmake may name, what CPU and operating system offer
};

// Asked once, then remembered.
const CpuInfo& DetectCpu();
// The question itself: isa/x86/cpu.cpp, isa/arm/cpu.cpp or isa/cpu_other.cpp.
CpuInfo QueryCpu();

struct IsaStatus {
  const char* isa;
  bool built;
  bool runnable;       // built, offered by CPU and operating system, and not masked by STERNA_ISA
  std::string reason;  // "selected", "CPU lacks avx512_vnni", "masked by STERNA_ISA", ...
};

// One entry for each row of kIsaRows, in its order. The environment variable STERNA_ISA, a comma-separated list of the ISAs
// that are allowed, may only remove; ref always stays.
std::vector<IsaStatus> DescribeIsas();

// The kernels that a program uses, a member for each family that computes: none is null.
struct KernelSet {
  const char* isa;
  DType activation;
#define STERNA_MEMBER(family, Kernel) const Kernel* family;
  STERNA_FAMILIES(STERNA_MEMBER, STERNA_MEMBER, STERNA_NO_FAMILY)
#undef STERNA_MEMBER
  const char* beaten;  // IsaRow::beaten of the ISA

  // Whether a family of fewer bits ("gemm_w46") is faster than 8 bits on this ISA. On ref nothing is.
  bool Wins(const char* family) const;
};

// Takes the best runnable ISA, or `isa` when that is not null. A family that it lacks, or has only for the other activation
// type, comes from the next slower runnable ISA, at last from ref.
Status SelectKernels(const char* isa, DType activation, KernelSet* kernels);

// The reference kernels for one activation type.
KernelSet RefKernels(DType activation);

// The name and the activation type of the ISA that SelectKernels takes by default.
const IsaRow& BestIsa();

// What SelectKernels takes by default for that type: for work that no program and no choice of the user bring kernels for. Chosen once.
const KernelSet& BestKernels();

}  // namespace sterna
