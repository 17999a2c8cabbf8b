// stripBytes(shapes): what the maps between the ops of a strip take in a thread (engine/strips.h).
#include "engine/strips.h"

#include "node/errors.h"
#include "node/register.h"
#include "sterna/program.h"

namespace sterna_node {
namespace {

constexpr size_t kFields = 5;  // x_rows, y_rows, y_row, taps, stride

Napi::Value StripBytes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Float64Array fields = info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_float64_array ? info[0].As<Napi::Float64Array>() : Napi::Float64Array();
  const size_t count = fields.IsEmpty() ? 0 : fields.ElementLength() / kFields;
  if (count < 2 || count > sterna::kMaxStripOps || fields.ElementLength() != count * kFields) {
    ThrowArgument(env, "Expected a Float64Array of five numbers for each op of a strip");
    return env.Undefined();
  }
  sterna::RowShape shapes[sterna::kMaxStripOps];
  const sterna::RowShape* pointers[sterna::kMaxStripOps];
  for (size_t op = 0; op < count; ++op) {
    int64_t values[kFields];
    for (size_t i = 0; i < kFields; ++i) {
      const double value = fields[op * kFields + i];
      if (!(value >= 1 && value <= 2147483647.0)) {
        ThrowArgument(env, "Expected numbers from 1 to 2147483647 for the ops of a strip");
        return env.Undefined();
      }
      values[i] = static_cast<int64_t>(value);
    }
    shapes[op] = {values[0], values[1], 0, static_cast<size_t>(values[2]), values[3], values[4], 0, true};
    pointers[op] = &shapes[op];
  }
  return Napi::Number::New(env, static_cast<double>(sterna::SizeOfStrip(pointers, static_cast<uint32_t>(count), sterna::kStripBytes).bytes));
}

}  // namespace

void RegisterStrips(Napi::Object exports) { SetFunction(exports, "stripBytes", StripBytes); }

}  // namespace sterna_node
