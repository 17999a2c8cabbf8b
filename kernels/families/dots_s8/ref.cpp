// dots_s8/ref: the sum as it stands.
#include "kernel.h"

namespace sterna {
namespace {

void Run(size_t n, size_t depth, const int8_t* rows, const int8_t* x, int32_t* y) {
  for (size_t i = 0; i < n; ++i) {
    int32_t sum = 0;
    for (size_t k = 0; k < depth; ++k) sum += int32_t{rows[i * depth + k]} * x[k];
    y[i] = sum;
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_ref;
const sterna::DotsS8Kernel sterna_dots_s8_ref = {"dots_s8/ref", sterna::Run};
}
