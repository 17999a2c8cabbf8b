// Unary float functions, over contiguous vectors.
#pragma once
#include "sterna/registry.h"

namespace sterna {

struct UnaryFunction {
  // y = f(x) for n contiguous elements; y may be x.
  using Body = void (*)(const UnaryFunction& f, size_t n, const float* x, float* y);

  Body body = nullptr;
  float alpha = 0, beta = 0;
  const ElementwiseKernels* elementwise = nullptr;
  const UnaryF32Kernels* unary = nullptr;

  void Apply(size_t n, const float* x, float* y) const { body(*this, n, x, y); }
};

// kUnsupportedOp when `kind` is not a UnaryKind.
Status MakeUnary(const KernelSet& kernels, int32_t kind, float alpha, float beta, UnaryFunction* unary);

}  // namespace sterna
