// Compare, Logic, BinaryS32: two operands of one type with numpy broadcasting, and a number or boolean of them.
#include "engine/op.h"
#include "engine/ops/failure.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// Each function writes *y and returns false where the true result is another number.
template <typename T>
struct Equal {
  static bool Apply(T a, T b, uint8_t* y) { return *y = a == b, true; }
};
template <typename T>
struct Less {
  static bool Apply(T a, T b, uint8_t* y) { return *y = a < b, true; }
};
template <typename T>
struct LessOrEqual {
  static bool Apply(T a, T b, uint8_t* y) { return *y = a <= b, true; }
};
struct And {
  static bool Apply(uint8_t a, uint8_t b, uint8_t* y) { return *y = a != 0 && b != 0, true; }
};
struct Or {
  static bool Apply(uint8_t a, uint8_t b, uint8_t* y) { return *y = a != 0 || b != 0, true; }
};
struct Xor {
  static bool Apply(uint8_t a, uint8_t b, uint8_t* y) { return *y = (a != 0) != (b != 0), true; }
};
struct Add {
  static bool Apply(int32_t a, int32_t b, int32_t* y) { return !__builtin_add_overflow(a, b, y); }
};
struct Sub {
  static bool Apply(int32_t a, int32_t b, int32_t* y) { return !__builtin_sub_overflow(a, b, y); }
};
struct Mul {
  static bool Apply(int32_t a, int32_t b, int32_t* y) { return !__builtin_mul_overflow(a, b, y); }
};
struct Min {
  static bool Apply(int32_t a, int32_t b, int32_t* y) { return *y = a < b ? a : b, true; }
};
struct Max {
  static bool Apply(int32_t a, int32_t b, int32_t* y) { return *y = a > b ? a : b, true; }
};
// In 64 bits: the lowest number divided by -1 is one too high for 32.
struct Div {
  static bool Apply(int32_t a, int32_t b, int32_t* y) {
    const int64_t quotient = b == 0 ? 0 : int64_t{a} / b;
    *y = static_cast<int32_t>(quotient);
    return b != 0 && quotient == *y;
  }
};
struct Fmod {
  static bool Apply(int32_t a, int32_t b, int32_t* y) {
    *y = b == 0 ? 0 : static_cast<int32_t>(int64_t{a} % b);
    return b != 0;
  }
};
struct Mod {
  static bool Apply(int32_t a, int32_t b, int32_t* y) {
    const bool good = Fmod::Apply(a, b, y);
    if (*y != 0 && (*y < 0) != (b < 0)) *y += b;
    return good;
  }
};
// By squaring. Negative powers of anything but 1 and -1 are less than 1.
struct Pow {
  static bool Apply(int32_t a, int32_t b, int32_t* y) {
    if (b < 0) return *y = a == 1 ? 1 : a == -1 ? (b % 2 == 0 ? 1 : -1) : 0, a != 0;
    int32_t result = 1, square = a;
    bool good = true;
    for (; b > 0; b >>= 1) {
      if (b & 1) good &= !__builtin_mul_overflow(result, square, &result);
      if (b > 1) good &= !__builtin_mul_overflow(square, square, &square);
    }
    return *y = result, good;
  }
};

struct Steps {
  int64_t a, b, y;
};
template <typename In, typename Out>
using Line = bool (*)(int64_t n, const In* a, const In* b, Out* y, const Steps& steps);

template <typename F, typename In, typename Out>
bool Each(int64_t n, const In* a, const In* b, Out* y, const Steps& s) {
  bool good = true;
  // Constant steps let the compiler vectorize the common cases.
  if (s.a == 1 && s.b == 1 && s.y == 1) {
    for (int64_t i = 0; i < n; ++i) good &= F::Apply(a[i], b[i], y + i);
  } else if (s.a == 1 && s.b == 0 && s.y == 1) {
    for (int64_t i = 0; i < n; ++i) good &= F::Apply(a[i], *b, y + i);
  } else {
    for (int64_t i = 0; i < n; ++i) good &= F::Apply(a[i * s.a], b[i * s.b], y + i * s.y);
  }
  return good;
}

// Units: segments of the nest.
template <typename In, typename Out>
class Pairwise final : public OpDriver {
 public:
  Pairwise(const LoopNest<3>& nest, Line<In, Out> line, bool checked, const char* name, const uint8_t* a, const uint8_t* b, uint8_t* y)
      : nest_(nest), line_(line), checked_(checked), a_(reinterpret_cast<const In*>(a)), b_(reinterpret_cast<const In*>(b)), y_(reinterpret_cast<Out*>(y)) {
    nest_.PreferLongInner();
    units_ = nest_.units();
    cost_ = nest_.units() * nest_.inner() / nest_.segments() / 2;
    kernel_ = name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const Steps steps{nest_.inner_stride(0), nest_.inner_stride(1), nest_.inner_stride(2)};
    nest_.ForEach(begin, end, [&](const int64_t(&at)[3], int64_t n) {
      if (!line_(n, a_ + at[0], b_ + at[1], y_ + at[2], steps) && checked_) failure_.Set();
    });
  }
  bool Succeeded() override { return !failure_.Take(); }
  const char* problem() const override { return kOutOf32Bits; }

 private:
  LoopNest<3> nest_;
  Line<In, Out> line_;
  bool checked_;
  const In *a_, *b_;
  Out* y_;
  Failure failure_;
};

template <typename In, typename Out>
Status Prepare(const OpContext& context, Line<In, Out> line, bool checked, const char* name, DriverPtr* driver) {
  LoopNest<3> nest;
  if (!BinaryNest(*context.Input(0), *context.Input(1), context.Output(), &nest)) return Mismatch("the shapes of a binary op do not broadcast");
  const uint8_t *a = nullptr, *b = nullptr;
  Status status = context.InputData(0, &a);
  if (status.ok()) status = context.InputData(1, &b);
  if (status.ok()) driver->reset(new Pairwise<In, Out>(nest, line, checked, name, a, b, context.OutputData()));
  return status;
}

bool HasTypes(const OpContext& context, DType operands, DType result) {
  return context.Input(0)->dtype == operands && context.Input(1)->dtype == operands && context.Output().dtype == result;
}

template <typename T>
Status PrepareComparison(const OpContext& context, DriverPtr* driver) {
  constexpr Line<T, uint8_t> kLines[] = {  // in the order of CompareKind
      Each<Equal<T>, T, uint8_t>, Each<Less<T>, T, uint8_t>, Each<LessOrEqual<T>, T, uint8_t>};
  const int32_t kind = context.Attrs<CompareAttrs>().kind;
  if (kind < 0 || kind > static_cast<int32_t>(CompareKind::kLessOrEqual)) return Unsupported("unknown comparison");
  return Prepare<T, uint8_t>(context, kLines[kind], false, "compare", driver);
}

struct IntegerRow {
  IntegerKind kind;
  Line<int32_t, int32_t> line;
  bool always_checked;
};
template <typename F>
constexpr Line<int32_t, int32_t> kLine = Each<F, int32_t, int32_t>;
constexpr IntegerRow kIntegers[] = {
    {IntegerKind::kAdd, kLine<Add>, false}, {IntegerKind::kSub, kLine<Sub>, false}, {IntegerKind::kMul, kLine<Mul>, false},
    {IntegerKind::kDiv, kLine<Div>, true},  {IntegerKind::kMin, kLine<Min>, false}, {IntegerKind::kMax, kLine<Max>, false},
    {IntegerKind::kPow, kLine<Pow>, false}, {IntegerKind::kMod, kLine<Mod>, true},  {IntegerKind::kFmod, kLine<Fmod>, true},
};

}  // namespace

Status PrepareCompare(const OpContext& context, DriverPtr* driver) {
  if (HasTypes(context, DType::kF32, DType::kU8)) return PrepareComparison<float>(context, driver);
  if (HasTypes(context, DType::kS32, DType::kU8)) return PrepareComparison<int32_t>(context, driver);
  return Mismatch("a comparison has the wrong types");
}

Status PrepareLogic(const OpContext& context, DriverPtr* driver) {
  constexpr Line<uint8_t, uint8_t> kLines[] = {  // in the order of LogicKind
      Each<And, uint8_t, uint8_t>, Each<Or, uint8_t, uint8_t>, Each<Xor, uint8_t, uint8_t>};
  const int32_t kind = context.Attrs<LogicAttrs>().kind;
  if (kind < 0 || kind > static_cast<int32_t>(LogicKind::kXor)) return Unsupported("unknown logical function");
  if (!HasTypes(context, DType::kU8, DType::kU8)) return Mismatch("a logical function needs booleans");
  return Prepare<uint8_t, uint8_t>(context, kLines[kind], false, "logic", driver);
}

Status PrepareBinaryS32(const OpContext& context, DriverPtr* driver) {
  const BinaryS32Attrs& attrs = context.Attrs<BinaryS32Attrs>();
  if (!HasTypes(context, DType::kS32, DType::kS32)) return Mismatch("whole-number arithmetic has the wrong types");
  for (const IntegerRow& row : kIntegers) {
    if (row.kind == static_cast<IntegerKind>(attrs.kind)) return Prepare<int32_t, int32_t>(context, row.line, row.always_checked || attrs.checked != 0, "binary_s32", driver);
  }
  return Unsupported("unknown whole-number function");
}

}  // namespace sterna
