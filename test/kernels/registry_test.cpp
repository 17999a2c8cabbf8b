// Dispatch: built and runnable are separate questions, and STERNA_ISA may only remove.
#include <cstdlib>
#include <cstring>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

// Sets an environment variable for one scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    const char* old = std::getenv(name);
    had_ = old != nullptr;
    if (had_) old_ = old;
    setenv(name, value, 1);
  }
  ~Environment() {
    if (had_) setenv(name_, old_.c_str(), 1);
    else unsetenv(name_);
  }

 private:
  const char* name_;
  bool had_;
  std::string old_;
};

size_t CountRunnable() {
  size_t count = 0;
  for (const sterna::IsaStatus& status : sterna::DescribeIsas()) count += status.runnable ? 1 : 0;
  return count;
}

}  // namespace

STERNA_TEST(exactly_one_isa_is_selected_and_all_have_a_reason) {
  int selected = 0;
  for (const sterna::IsaStatus& status : sterna::DescribeIsas()) {
    EXPECT(!status.reason.empty());
    EXPECT(status.built || !status.runnable);
    if (status.reason != "selected") continue;
    ++selected;
    EXPECT(std::strcmp(status.isa, sterna::BestIsa().kernels.isa) == 0);
  }
  EXPECT(selected == 1);
}

STERNA_TEST(the_mask_removes_and_never_adds) {
  const Environment mask("STERNA_ISA", "ref,no_such_isa");
  EXPECT(CountRunnable() == 1);
  EXPECT(std::strcmp(sterna::BestIsa().kernels.isa, "ref") == 0);
  for (size_t i = 1; i < sterna::kIsaRowCount; ++i) {
    sterna::KernelSet kernels;
    const sterna::Status status = sterna::SelectKernels(sterna::kIsaRows[i].kernels.isa, DType::kU8, &kernels);
    EXPECT(status.code == sterna::StatusCode::kUnsupportedIsa);
  }
}

STERNA_TEST(an_empty_mask_masks_nothing) {
  const size_t before = [] {
    const Environment mask("STERNA_ISA", "");
    return CountRunnable();
  }();
  const Environment mask("STERNA_ISA", "ref");
  EXPECT(CountRunnable() <= before);
}

STERNA_TEST(every_family_resolves_for_both_activation_types) {
  for (DType type : {DType::kU8, DType::kS8}) {
    sterna::KernelSet kernels;
    const sterna::Status status = sterna::SelectKernels(nullptr, type, &kernels);
    EXPECT(status.ok());
    EXPECT(kernels.gemm_q8 != nullptr && kernels.dwconv_q8 != nullptr && kernels.gemm_f32 != nullptr);
    EXPECT(kernels.dwconv_f32 != nullptr && kernels.elementwise != nullptr && kernels.pool != nullptr);
    EXPECT(kernels.activation == type);
    // An ISA's 8-bit kernels take its own activation type only.
    if (static_cast<DType>(sterna::BestIsa().kernels.activation) != type) {
      EXPECT(std::strcmp(kernels.gemm_q8->name, "gemm_q8/ref") == 0);
    }
  }
}

STERNA_TEST(an_unknown_isa_is_refused) {
  sterna::KernelSet kernels;
  EXPECT(sterna::SelectKernels("mmx", DType::kU8, &kernels).code == sterna::StatusCode::kUnsupportedIsa);
}

}  // namespace sterna_test
