// Whole programs in an engine, for tests that compare their outputs.
#pragma once
#include "engine/engine.h"
#include "program_builder.h"

namespace sterna_test {

using Bytes = std::vector<uint8_t>;

inline sterna::LoadOptions OptionsFor(const char* isa, int threads) {
  sterna::LoadOptions options;
  options.isa = isa;
  options.threads = threads;
  return options;
}

// The outputs for inputs of a fixed pattern.
inline std::vector<Bytes> RunAll(sterna::Engine& engine) {
  Bytes in(engine.InputBytes(0));
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * 37 + i / 7);
  const uint8_t* inputs[] = {in.data()};
  std::vector<Bytes> out;
  std::vector<uint8_t*> outputs;
  for (size_t i = 0; i < engine.output_count(); ++i) out.emplace_back(engine.OutputBytes(i));
  for (Bytes& bytes : out) outputs.push_back(bytes.data());
  const sterna::Status status = engine.Run(inputs, outputs.data());
  EXPECT_MSG(status.ok(), status.message);
  return out;
}

}  // namespace sterna_test
