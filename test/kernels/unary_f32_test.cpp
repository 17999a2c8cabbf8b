// Every runnable table of unary float functions against double precision, over the whole range of floats: bounds as in families/unary_f32/functions.h.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::UnaryF32Kernels;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double ExactFloor(double x, double, double) { return std::floor(x); }
double ExactCeil(double x, double, double) { return std::ceil(x); }
double ExactRound(double x, double, double) { return std::nearbyint(x); }
double ExactTanh(double x, double, double) { return std::tanh(x); }
double ExactScaledTanh(double x, double alpha, double beta) { return alpha * std::tanh(beta * x); }
double ExactElu(double x, double alpha, double) { return x < 0 ? alpha * std::expm1(x) : x; }
double ExactSelu(double x, double alpha, double gamma) { return gamma * (x < 0 ? alpha * std::expm1(x) : x); }
double ExactCelu(double x, double alpha, double) { return x < 0 ? alpha * std::expm1(x / alpha) : x; }
double ExactErf(double x, double, double) { return std::erf(x); }
double ExactGelu(double x, double, double) { return x == -kInfinity ? 0 : 0.5 * x * std::erfc(-x * M_SQRT1_2); }
double ExactGeluTanh(double x, double, double) { return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
double ExactSoftplus(double x, double, double) { return Softplus(x); }
double ExactMish(double x, double, double) { return x * std::tanh(Softplus(x)); }
double ExactLog(double x, double, double) { return std::log(x); }
double ExactSin(double x, double, double) { return std::sin(x); }
double ExactCos(double x, double, double) { return std::cos(x); }

struct FunctionCase {
  const char* name;
  UnaryF32Kernels::Body UnaryF32Kernels::*kernel;
  double (*exact)(double x, double alpha, double beta);
  float alpha, beta;
  double ulps;        // of the result
  double of_operand;  // of |x|
  float limit;        // of |x|
  double absolute = sterna::kUnaryDenormal;
};
constexpr float kAll = std::numeric_limits<float>::infinity();
using sterna::kGeluOfOperand, sterna::kMishDenormal, sterna::kMishUlps, sterna::kUnaryUlps;
constexpr FunctionCase kFunctions[] = {
    {"floor", &UnaryF32Kernels::floor, ExactFloor, 0, 0, 0, 0, kAll},
    {"ceil", &UnaryF32Kernels::ceil, ExactCeil, 0, 0, 0, 0, kAll},
    {"round", &UnaryF32Kernels::round, ExactRound, 0, 0, 0, 0, kAll},
    {"tanh", &UnaryF32Kernels::tanh, ExactTanh, 0, 0, kUnaryUlps, 0, kAll},
    {"scaled_tanh", &UnaryF32Kernels::scaled_tanh, ExactScaledTanh, 1.7159f, 0.6667f, kUnaryUlps + 1, 0, kAll},
    {"elu", &UnaryF32Kernels::elu, ExactElu, 0.7f, 0, kUnaryUlps, 0, kAll},
    {"selu", &UnaryF32Kernels::selu, ExactSelu, 1.67326319f, 1.05070102f, kUnaryUlps, 0, kAll},
    {"celu", &UnaryF32Kernels::celu, ExactCelu, 0.3f, 0, kUnaryUlps, 0, kAll},
    {"erf", &UnaryF32Kernels::erf, ExactErf, 0, 0, kUnaryUlps, 0, kAll},
    {"gelu", &UnaryF32Kernels::gelu, ExactGelu, 0, 0, 0, kGeluOfOperand, kAll},
    {"gelu_tanh", &UnaryF32Kernels::gelu_tanh, ExactGeluTanh, 0, 0, 0, kGeluOfOperand, kAll},
    {"softplus", &UnaryF32Kernels::softplus, ExactSoftplus, 0, 0, kUnaryUlps, 0, kAll},
    {"mish", &UnaryF32Kernels::mish, ExactMish, 0, 0, kMishUlps, 0, kAll, kMishDenormal},
    {"log", &UnaryF32Kernels::log, ExactLog, 0, 0, kUnaryUlps, 0, kAll},
    {"sin", &UnaryF32Kernels::sin, ExactSin, 0, 0, kUnaryUlps, 0, sterna::kTrigonometricLimit},
    {"cos", &UnaryF32Kernels::cos, ExactCos, 0, 0, kUnaryUlps, 0, sterna::kTrigonometricLimit},
};

float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

constexpr float kSpecials[] = {
    0.0f, -0.0f, 1e-45f, -1e-45f, 1e-40f, -1e-40f, 1.17549435e-38f, -1.17549435e-38f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 1.0f, -1.0f, 0.927734375f,
    0.99999994f, 1.0000001f, 8388607.5f, 16777216.0f, 3.14159274f, 1.57079637f, -1.57079637f, 710.0f / 113 * 355, 1e5f, -1e5f, 88.72284f, -88.72284f,
    -103.97f, -104.0f, 3.4028235e38f, -3.4028235e38f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
    std::numeric_limits<float>::quiet_NaN()};

// Every n-th bit pattern, and the special values. STERNA_UNARY_STEP=1 tries all floats, which takes minutes a function.
std::vector<float> Operands(float limit) {
  const char* asked = std::getenv("STERNA_UNARY_STEP");
  const uint64_t step = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 65521;
  std::vector<float> x(std::begin(kSpecials), std::end(kSpecials));
  for (uint64_t bits = 0; step > 0 && bits < uint64_t{1} << 32; bits += step) x.push_back(FromBits(static_cast<uint32_t>(bits)));
  for (int i = -400; i <= 400; ++i) x.push_back(static_cast<float>(i * M_PI / 2)), x.push_back(static_cast<float>(i) / 16);
  x.erase(std::remove_if(x.begin(), x.end(), [limit](float v) { return std::fabs(v) > limit; }), x.end());
  return x;
}

bool Agrees(const FunctionCase& f, float x, float y, double exact) {
  if (std::isnan(exact)) return std::isnan(y);
  const float rounded = static_cast<float>(exact);
  if (std::isinf(rounded) && std::isinf(y)) return rounded == y;
  if (x == 0.0f && exact == 0.0 && std::signbit(exact) != std::signbit(y)) return false;
  if (rounded == y) return true;
  return std::fabs(static_cast<double>(y) - exact) <= f.ulps * UlpOf(exact) + f.of_operand * std::fabs(static_cast<double>(x)) + (f.ulps + f.of_operand > 0 ? f.absolute : 0);
}

void CheckFunction(const UnaryF32Kernels& kernels, const FunctionCase& f) {
  const std::vector<float> x = Operands(f.limit);
  std::vector<float> y(x.size());
  (kernels.*f.kernel)(x.size(), x.data(), y.data(), f.alpha, f.beta);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = f.exact(static_cast<double>(x[i]), static_cast<double>(f.alpha), static_cast<double>(f.beta));
    EXPECT_MSG(Agrees(f, x[i], y[i], exact), Format("%s %s(%.9g) is %.9g instead of %.17g", kernels.name, f.name, static_cast<double>(x[i]), static_cast<double>(y[i]), exact));
    if (std::isfinite(exact) && std::fabs(exact) > 1e-37 && std::isfinite(y[i])) worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - exact) / (f.of_operand > 0 ? std::fabs(static_cast<double>(x[i])) : UlpOf(exact)));
  }
  if (std::getenv("STERNA_UNARY_STEP") != nullptr) std::printf("%s %s: largest error %.3g %s\n", kernels.name, f.name, worst, f.of_operand > 0 ? "of |x|" : "ulp");
}

// Neither the length, nor the place, nor working in place may change a bit; nothing beyond n elements is touched.
void CheckFunctionPlaces(const UnaryF32Kernels& kernels, const FunctionCase& f) {
  Random random(11);
  for (size_t n : {0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 100}) {
    Guarded x(n * 4), whole(n * 4), single(n * 4);
    for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Float(-6.0f, 6.0f);
    (kernels.*f.kernel)(n, x.as<float>(), whole.as<float>(), f.alpha, f.beta);
    for (size_t i = 0; i < n; ++i) (kernels.*f.kernel)(1, x.as<float>() + i, single.as<float>() + i, f.alpha, f.beta);
    const auto same = [&](const Guarded& other) {
      for (size_t i = 0; i < n; ++i) {
        const float a = whole.as<float>()[i], b = other.as<float>()[i];
        if (std::isnan(a) ? !std::isnan(b) : std::memcmp(&a, &b, sizeof a) != 0) return false;
      }
      return true;
    };
    EXPECT_MSG(same(single), Format("%s %s n=%zu: one by one differs", kernels.name, f.name, n));
    (kernels.*f.kernel)(n, x.as<float>(), x.as<float>(), f.alpha, f.beta);
    EXPECT_MSG(same(x), Format("%s %s n=%zu: in place differs", kernels.name, f.name, n));
  }
}

void TestFunctions(const UnaryF32Kernels& kernels) {
  for (const FunctionCase& f : kFunctions) {
    CheckFunction(kernels, f);
    CheckFunctionPlaces(kernels, f);
  }
}

}  // namespace

STERNA_TEST(unary_f32_is_within_its_bounds) {
  ForEachIsa("unary_f32", &sterna::IsaKernels::unary_f32, [](const sterna::IsaKernels& isa) { TestFunctions(*isa.unary_f32); });
  TestFunctions(sterna_unary_f32_ref);
}

}  // namespace sterna_test
